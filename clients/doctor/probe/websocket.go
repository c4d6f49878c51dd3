package probe

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// webSocket observes a WebSocket until it is proven.
func (p *patient) webSocket(ctx context.Context) doctor.Observation {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	line := newTimeline(protocol.WebSocket, p.timeout)
	p.talk(ctx, line, func() {}, func() bool { return line.seen.Proof > 0 })
	return line.seen
}

// talk opens a WebSocket, says hello, and notes frames until done. touched is called whenever something comes.
func (p *patient) talk(ctx context.Context, line *timeline, touched func(), done func() bool) {
	conn := p.upgrade(ctx, line)
	if conn == nil {
		return
	}
	defer conn.Close()
	// The request's own context has no power after the upgrade.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := wsutil.WriteClientText(conn, helloBody(0))
	frames := newSocketReader(conn)
	for err == nil {
		var frame []byte
		frame, err = frames.next()
		if err != nil {
			break
		}
		touched()
		if line.frame(frame) && line.seen.Proof == 0 || done() {
			return
		}
	}
	if _, closed := errors.AsType[wsutil.ClosedError](err); closed {
		err = io.EOF
	}
	line.failed(ctx, err)
}

// upgrade makes the handshake (RFC 6455, section 4.1) with the HTTP client, so
// that its proxy and its TLS are used. It returns nil when there is no connection.
func (p *patient) upgrade(ctx context.Context, line *timeline) io.ReadWriteCloser {
	nonce := make([]byte, 16)
	rand.Read(nonce) //nolint:errcheck // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("attach"), nil)
	if err != nil {
		line.failed(ctx, err)
		return nil
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": protocol.Subprotocol,
	} {
		r.Header.Set(name, value)
	}
	p.show(r)
	response, err := p.client.Do(r)
	if err != nil {
		line.failed(ctx, err)
		return nil
	}
	line.answered(response)
	conn, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode != http.StatusSwitchingProtocols || !ok {
		response.Body.Close()
		return nil
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if response.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) ||
		response.Header.Get("Sec-WebSocket-Protocol") != protocol.Subprotocol {
		line.seen.Forged = true
		conn.Close()
		return nil
	}
	return conn
}

// socketReader reads text messages, and answers pings.
type socketReader struct {
	reader  wsutil.Reader
	control wsutil.FrameHandlerFunc
}

func newSocketReader(conn io.ReadWriter) *socketReader {
	control := wsutil.ControlFrameHandler(conn, ws.StateClientSide)
	return &socketReader{control: control, reader: wsutil.Reader{
		Source: bufio.NewReader(conn), State: ws.StateClientSide, CheckUTF8: true, MaxMessageSize: maxFrame, OnIntermediate: control,
	}}
}

func (s *socketReader) next() ([]byte, error) {
	for {
		header, err := s.reader.NextFrame()
		switch {
		case err != nil:
		case header.OpCode.IsControl():
			err = s.control(header, &s.reader)
		case header.OpCode == ws.OpText:
			return io.ReadAll(&s.reader)
		default:
			err = s.reader.Discard()
		}
		if err != nil {
			return nil, err
		}
	}
}

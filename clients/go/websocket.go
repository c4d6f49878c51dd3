package fairlead

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/protocol"
)

// socketSource reads frames from a WebSocket (PROTOCOL.md 3.1).
type socketSource struct {
	conn    *socket
	reader  wsutil.Reader
	control wsutil.FrameHandlerFunc
}

// openWebSocket makes the handshake with the client's own HTTP client, and not
// with ws.Dialer, so that its proxy, its TLS and its cookies are used.
func (c *Client) openWebSocket(ctx context.Context, h *protocol.Hello, t *token, pulse func()) (source, error) {
	nonce := make([]byte, 16)
	rand.Read(nonce) //nolint:errcheck // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("attach").String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", key)
	r.Header.Set("Sec-WebSocket-Protocol", protocol.Subprotocol)
	response, err := c.do(r, t)
	if err != nil {
		return nil, err
	}
	conn, err := upgraded(response, key)
	if err != nil {
		response.Body.Close()
		return nil, err
	}
	s := newSocketSource(&socket{ReadWriteCloser: conn, pulse: pulse})
	stop := context.AfterFunc(ctx, s.close) // the request's own context has no power after the upgrade
	defer stop()
	frame, err := hello(h)
	if err == nil {
		err = s.write(frame)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// errNoUpgrade is Fairlead's answer to a handshake that a proxy took the Upgrade out of:
// what is bad about the request is not what we asked for.
var errNoUpgrade = errors.New("the upgrade was refused")

// upgraded is the connection that the handshake made of the response (RFC 6455, section 4.1).
func upgraded(response *http.Response, key string) (io.ReadWriteCloser, error) {
	if response.StatusCode != http.StatusSwitchingProtocols {
		err := checkStatus(response)
		if e, ok := errors.AsType[*protocol.Error](err); ok && e.Code == protocol.BadRequest {
			return nil, fmt.Errorf("%w: %s", errNoUpgrade, e.Message)
		}
		return nil, cmp.Or[error](err, &StatusError{Status: response.StatusCode})
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if response.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errors.New("the upgrade was answered by somebody who does not speak WebSocket")
	}
	if got := response.Header.Get("Sec-WebSocket-Protocol"); got != protocol.Subprotocol {
		return nil, fmt.Errorf("the upgrade was answered with the subprotocol %q", got)
	}
	conn, ok := response.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, errors.New("the HTTP client does not let a connection be upgraded")
	}
	return conn, nil
}

func newSocketSource(conn *socket) *socketSource {
	control := wsutil.ControlFrameHandler(conn, ws.StateClientSide)
	return &socketSource{conn: conn, control: control, reader: wsutil.Reader{
		Source: bufio.NewReader(conn), State: ws.StateClientSide, CheckUTF8: true,
		MaxMessageSize: maxAnswer, OnIntermediate: control,
	}}
}

func (s *socketSource) next() ([]byte, error) {
	for {
		header, err := s.reader.NextFrame()
		if err != nil {
			return nil, err
		}
		switch {
		case header.OpCode == ws.OpClose:
			return nil, s.closed(header)
		case header.OpCode.IsControl():
			err = s.control(header, &s.reader)
		case header.OpCode == ws.OpText:
			return io.ReadAll(&s.reader)
		default:
			err = s.reader.Discard()
		}
		if closed, ok := errors.AsType[wsutil.ClosedError](err); ok {
			return nil, closeError(closed)
		}
		if err != nil {
			return nil, err
		}
	}
}

// closed reads why the server closes the connection, and closes it too. The
// server may have gone before it hears that, which is no reason not to say why.
func (s *socketSource) closed(header ws.Header) error {
	payload := make([]byte, header.Length) // at most 125: the reader has checked
	if _, err := io.ReadFull(&s.reader, payload); err != nil {
		return err
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewCloseFrame(payload))); err == nil {
		_, _ = s.conn.Write(frame)
	}
	return closeError(wsutil.ClosedError{Code: code, Reason: reason})
}

// closeError is io.EOF for a close in order, which 1000 and 1012 are.
func closeError(closed wsutil.ClosedError) error {
	if closed.Code == ws.StatusNormalClosure || closed.Code == 1012 {
		return io.EOF
	}
	for _, code := range []protocol.Code{protocol.Expired, protocol.Unauthorized, protocol.Forbidden} {
		if int(closed.Code) == code.CloseCode() { // something on the way may have kept the error frame
			return &protocol.Error{Code: code, Message: closed.Reason}
		}
	}
	return fmt.Errorf("the server closed the connection: %d %s", closed.Code, closed.Reason)
}

func (s *socketSource) write(text []byte) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame(text)))
	if err == nil {
		_, err = s.conn.Write(frame)
	}
	return err
}

// leave says bye. The server closes the connection then; if it does not, or
// does not even read, this does.
func (s *socketSource) leave() {
	limit := time.AfterFunc(byeLimit, s.close)
	if s.write(bytes.Clone(opBye)) != nil { // masking is done in place
		limit.Stop()
		s.close()
	}
}

func (s *socketSource) close() { s.conn.Close() }

// authorize gives the server another token. The answer is a reply to the token's number.
func (s *socketSource) authorize(t *token) error {
	frame, err := json.Marshal(map[string]any{"op": protocol.OpAuth, "cid": t.number, "token": t.text})
	if err != nil {
		return err
	}
	return s.write(frame)
}

// socket is the connection of a WebSocket. Whoever reads from it writes pongs,
// and whoever leaves writes a bye: each frame is one write.
type socket struct {
	io.ReadWriteCloser
	pulse   func()
	writing sync.Mutex
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(p)
	if n > 0 {
		s.pulse()
	}
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.ReadWriteCloser.Write(p)
}

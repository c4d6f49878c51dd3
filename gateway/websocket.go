package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

const (
	helloTimeout = 10 * time.Second // for the first frame
	closeTimeout = 2 * time.Second  // for the peer's close frame

	closeServiceRestart = 1012
)

// serveWebSocket upgrades the request and attaches over it. The connection is
// taken over, with the place, and what net/http holds for the request is let go.
func (g *Gateway) serveWebSocket(w http.ResponseWriter, r *http.Request, at arrival, hello *protocol.Hello) error {
	upgrader := ws.HTTPUpgrader{Protocol: func(s string) bool { return s == protocol.Subprotocol }}
	if err := checkHandshake(w, r); err != nil {
		return err
	}
	if err := g.enter(); err != nil {
		return err
	}
	r.Header["Connection"] = []string{"Upgrade"} // the upgrader would look at the first line only
	conn, rw, _, err := upgrader.Upgrade(r, w)
	if err != nil { // it has been answered
		g.wg.Done()
		if conn != nil {
			_ = conn.Close()
		}
		g.log.Debug("websocket handshake failed", "error", err)
		return nil
	}
	at.place = at.place.Hand()
	c := &webSocket{g: g, conn: conn, read: conn, stall: g.door.Stall, at: at}
	if n := rw.Reader.Buffered(); n > 0 { // frames that came with the handshake
		early, _ := rw.Reader.Peek(n)
		c.read = io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
	}
	go func() { // waited for by Drain, through wg
		defer g.wg.Done()
		defer c.at.place.Leave()
		defer func() { _ = conn.Close() }()
		defer c.letGo()
		defer g.survive("a WebSocket", nil)
		c.serve(hello)
	}()
	return nil
}

// checkHandshake reports why the request does not open a WebSocket (RFC 6455, section 4.2.1), or nil.
func checkHandshake(w http.ResponseWriter, r *http.Request) error {
	_, hijacks := w.(http.Hijacker)
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || !hijacks || !hasToken(r, "Connection", "upgrade"):
		return protocol.Errorf(protocol.BadRequest, "this cannot become a WebSocket: send a GET over HTTP/1.1 with Connection: Upgrade")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return protocol.Errorf(protocol.BadRequest, "this is not version 13 of WebSocket: say so in Sec-WebSocket-Version")
	case err != nil || len(key) != 16:
		return protocol.Errorf(protocol.BadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	case !hasToken(r, "Sec-WebSocket-Protocol", protocol.Subprotocol):
		return protocol.Errorf(protocol.BadRequest, "the WebSocket does not offer the subprotocol %s: name it in Sec-WebSocket-Protocol", protocol.Subprotocol)
	}
	return nil
}

// hasToken tells whether a header that is a list holds token.
func hasToken(r *http.Request, header, token string) bool {
	for _, line := range r.Header.Values(header) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

var overWebSocket = &medium{transport: protocol.WebSocket, encode: appendTextFrame}

// webSocket is one connection. serve's goroutine reads from it, and pump's writes.
type webSocket struct {
	g     *Gateway
	conn  net.Conn
	read  io.Reader
	stall func() time.Duration
	at    arrival      // by the handshake
	moved atomic.Int64 // when the last part began to be written, in nanoseconds of the Unix epoch

	// Owned by who reads.
	frames *rate.Limiter   // of those that end no message; nil before the first
	left   int64           // bytes of the frame that is coming
	whole  time.Time       // when the message that is coming has to be there; zero while none is
	held   *admission.Body // what there is of it; nil while that is nothing

	by atomic.Pointer[time.Time] // reading ends then, whatever comes; nil while there is no such time
}

// serve attaches and carries out commands until the connection ends. hello is
// nil if it is still to come.
func (c *webSocket) serve(hello *protocol.Hello) {
	ctx := context.Background() // what ends is the connection
	if hello == nil {
		var err error
		if hello, err = c.readHello(); err != nil {
			c.refuse(err)
			return
		}
	}
	// Refused only now, and not as a handshake: a browser does not tell its page why one has failed.
	from, err := c.g.recognizeHello(ctx, c.at, protocol.WebSocket, hello)
	if err != nil {
		c.refuse(err)
		return
	}
	c.at.shown = credential{} // not to be kept
	a, err := c.g.attach(ctx, overWebSocket, hello, from)
	if err != nil {
		c.refuse(err)
		return
	}
	defer a.detach()
	c.stall = a.share.Stall
	pumped := make(chan struct{})
	go func() { // waited for below
		defer close(pumped)
		defer c.g.survive("writing to a WebSocket", func(error) {
			_ = c.conn.Close()
			a.end(ending{})
		})
		end, err := a.pump(ctx, c)
		a.end(ending{}) // or a command that waits for room would do so for ever
		if end != nil {
			c.sayClose(end.code)
		}
		c.g.ended(a, err)
		// The peer answers a close frame with its own; if it does not, this ends the reading.
		c.readBy(closeTimeout)
	}()
	c.readCommands(ctx, a)
	// Nobody reads any more, so what is still being written must not wait for its peer.
	cut := time.AfterFunc(closeTimeout, func() { _ = c.conn.Close() })
	defer cut.Stop()
	<-pumped
}

// readHello reads the first frame.
func (c *webSocket) readHello() (*protocol.Hello, error) {
	c.readBy(helloTimeout)
	here := context.AfterFunc(c.g.window, func() { // as it would have nobody to attach to
		c.readBy(0)
		_ = c.conn.SetWriteDeadline(time.Now().Add(closeTimeout)) // of a pong that is not taken
	})
	m, err := c.readMessage(nil)
	here()
	c.by.Store(nil)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.g.window.Err() != nil {
		c.stall = func() time.Duration { return closeTimeout }
		return nil, errDraining()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, protocol.Errorf(protocol.Timeout, "no hello came within %v", helloTimeout)
	}
	if err != nil {
		return nil, err
	}
	c.allow(0)
	defer c.letGo()
	return protocol.ParseHello(m, c.g.limits().Channels)
}

// readCommands carries out commands, in order, until the connection ends or the attachment does.
func (c *webSocket) readCommands(ctx context.Context, a *attachment) {
	defer c.g.survive("a WebSocket's commands", func(err error) { c.endWith(a, err) })
	for {
		m, err := c.readMessage(a)
		switch {
		case err == nil:
		case isNetError(err):
			_ = c.conn.Close() // nothing that is still being written gets anywhere
			a.end(ending{})
			return
		case isPeersClose(err):
			c.endWith(a, err) // with its own code; the server closes first (RFC 6455, section 7.1.1)
			return
		default:
			c.endWith(a, err)
			c.awaitClose()
			return
		}
		if a.ended() { // nothing more is done for who was sent away, and may not read that
			c.awaitClose()
			return
		}
		reply := c.g.execute(ctx, caller{from: c.at.from.with(a.grant.Load()), attachment: a, session: a.session}, m)
		c.letGo()
		if reply != nil {
			if !a.owe(owed{wire: reply.Wire()}) {
				c.awaitClose()
				return
			}
		}
	}
}

// endWith ends the attachment for what the peer did.
func (c *webSocket) endWith(a *attachment, err error) {
	if e, ok := errors.AsType[*closeError](err); ok {
		a.end(ending{code: e.code})
		return
	}
	a.fail(err)
}

// awaitClose reads on until the peer's close frame, so that what is written last
// is not cut off by a reset. What comes until then is for nobody.
func (c *webSocket) awaitClose() {
	c.letGo()
	if c.by.Load() == nil { // else the pump has written the end, and what comes does not put that off
		c.readBy(closeTimeout)
	}
	for c.skip() == nil {
		h, err := ws.ReadHeader(c.read)
		if err != nil || h.OpCode == ws.OpClose {
			return
		}
		if c.left = h.Length; h.OpCode.IsControl() || !h.Fin {
			c.pace()
		}
	}
}

// closeError is an error that has a close code of its own.
type closeError struct {
	code int
	text string
	peer bool // the peer closed
}

func (e *closeError) Error() string { return e.text }

func isPeersClose(err error) bool {
	e, ok := errors.AsType[*closeError](err)
	return ok && e.peer
}

// isNetError tells whether there is nobody left to be told.
func isNetError(err error) bool {
	_, violation := errors.AsType[*closeError](err)
	_, refusal := errors.AsType[*protocol.Error](err)
	return !violation && !refusal // whatever else a connection, or TLS on it, may say
}

// refuse answers what could not be attached. Nothing else writes to the connection.
func (c *webSocket) refuse(err error) {
	if isNetError(err) {
		return
	}
	code := 0
	if ce, ok := errors.AsType[*closeError](err); ok {
		code = ce.code
	} else {
		e := protocol.ErrorFrom(err)
		c.g.countError(e)
		c.g.logInternal(e)
		code = e.Code.CloseCode()
		if c.write(appendTextFrame(nil, protocol.ErrorFrame(e))) != nil {
			return
		}
	}
	c.sayClose(code)
	if !isPeersClose(err) {
		c.awaitClose()
	}
}

// sayClose sends the close frame.
func (c *webSocket) sayClose(code int) {
	if code == 0 {
		code = int(ws.StatusNormalClosure)
	}
	_ = c.write(appendFrame(nil, ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), ""))) // the peer may be gone
}

func (c *webSocket) cut() { _ = c.conn.Close() }

func (c *webSocket) cutIfStuck(before time.Time) bool {
	if c.moved.Load() > before.UnixNano() {
		return false
	}
	c.cut()
	return true
}

// write is the sink. It fails if the peer takes less than a part for the stall
// limit. In parts, because TLS writes nothing any more after a deadline.
func (c *webSocket) write(p []byte) error {
	for len(p) > 0 {
		now, n := time.Now(), min(len(p), chunkBytes)
		c.moved.Store(now.UnixNano())
		if err := c.conn.SetWriteDeadline(now.Add(c.stall())); err != nil {
			return err
		}
		if _, err := c.conn.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// body is the request's body as it comes. It fails with os.ErrDeadlineExceeded
// when it stands still for longer than the limit. It may last: the rest of the request is gone.
func (g *Gateway) body(w http.ResponseWriter, r *http.Request) *stallReader {
	forget(r)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // the answer has one of its own, and HTTP/2 ends a stream at it that has nothing to write as well
	return &stallReader{r: r.Body, control: control, stall: g.limits().BodyStall, idle: r.ProtoMajor > 1, count: g.metrics.bytesIn.Add}
}

// checkEncoding reports that the body is compressed.
func checkEncoding(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return protocol.Errorf(protocol.UnsupportedMediaType, "the body is encoded with %.40q: send it as it is", encoding)
	}
	return nil
}

// readBody is the whole body, at most as long as the limit. From is who sends it,
// with the grant if that is known before.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, from client, limit sizeLimit) ([]byte, error) {
	if err := checkEncoding(r); err != nil {
		return nil, err
	}
	if r.ContentLength > int64(limit.bytes) {
		return nil, g.tooLarge(limit)
	}
	coming := g.body(w, r)
	coming.by = g.wholeBy(limit.bytes)
	counted := g.door.Body(g.sends(from), io.LimitReader(coming, int64(limit.bytes)+1))
	defer counted.Leave()
	body, err := io.ReadAll(counted)
	if err != nil {
		return nil, g.bodyError(err)
	}
	if len(body) > limit.bytes {
		return nil, g.tooLarge(limit)
	}
	return body, nil
}

func (g *Gateway) tooLarge(limit sizeLimit) error {
	g.countRefused(limit.name)
	return protocol.Errorf(protocol.TooLarge, "the body is over the limit of %d bytes", limit.bytes)
}

// bodyError is what a client is told of a body that did not come.
func (g *Gateway) bodyError(err error) error {
	if g.window.Err() == nil {
		g.countStall("body_stall", err)
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if g.window.Err() != nil {
			return errDraining().Because(err)
		}
		return protocol.Errorf(protocol.Timeout, "the body came too slowly, or stood still for too long").Because(err)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return protocol.Errorf(protocol.BadRequest, "the body broke off").Because(err)
	}
	return protocol.Errorf(protocol.BadRequest, "the body cannot be read").Because(err)
}

// minBodyRate is how many bytes a second a body that is read as a whole has to
// come with, on the whole and at the latest from the stall limit on.
const minBodyRate = 16 << 10

// stallReader gives each read its time.
type stallReader struct {
	r       io.Reader
	control *http.ResponseController
	stall   time.Duration
	by      time.Time // when the whole has to be there; zero for a body that may last
	idle    bool      // there is no deadline while nothing is read: HTTP/2 ends a body at it all the same
	count   func(float64)
}

func (s *stallReader) Read(p []byte) (int, error) {
	at := time.Now().Add(s.stall)
	if !s.by.IsZero() && s.by.Before(at) {
		at = s.by
	}
	if err := s.control.SetReadDeadline(at); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.count(float64(n))
	if errors.Is(err, io.EOF) || err == nil && s.idle {
		// The next request comes on the same connection. After another error net/http reads what is left of the body, and must not wait for it.
		_ = s.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// coming is a request's body that is cut off when a drain's window is over,
// whoever waits for it: net/http reads what a handler leaves of it.
type coming struct {
	io.ReadCloser
	window  context.Context
	control *http.ResponseController
	whole   func() bool // is called when it is there
}

// within has the body of r cut off when a drain's window is over. The caller
// calls done when r has been answered.
func (g *Gateway) within(r *http.Request, control *http.ResponseController) (done func() bool) {
	c := &coming{ReadCloser: r.Body, window: g.window, control: control}
	c.whole = context.AfterFunc(g.window, c.cut) // not after the body's end: a deadline of HTTP/1 would then end the request
	r.Body = c
	return c.whole
}

func (c *coming) cut() { _ = c.control.SetReadDeadline(time.Now()) }

func (c *coming) Read(p []byte) (int, error) {
	if c.window.Err() != nil {
		c.cut() // after the reader's own deadline was set; what is here already can still be read
	}
	n, err := c.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		c.whole()
	}
	return n, err
}

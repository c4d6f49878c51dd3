package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// preludeBytes fill the buffers of intermediaries that hold back the first
// bytes of a response. Measured, more is no better. nginx 1.22 that ignores
// X-Accel-Buffering holds a stream over HTTP/1.0 back to its end: 4 KiB and more
// only get the prelude itself through. Over HTTP/1.1 it passes chunks on at
// once, but holds back what fills more than its buffer of 4 KiB, so that the
// welcome came with the proof, after 250 ms. haproxy 2.6 keeps each chunk for
// 200 ms, whatever comes first, unless it has option http-no-delay.
const preludeBytes = 2 << 10

var overSSE = &medium{
	transport: protocol.SSE,
	media:     protocol.MediaSSE,
	prelude:   append(append([]byte("retry: 1000\n:"), bytes.Repeat([]byte{' '}, preludeBytes)...), "\n\n"...),
	encode:    func(b []byte, w protocol.Wire) []byte { return append(b, w.Event()...) },
}

var overStream = &medium{
	transport: protocol.Stream,
	media:     protocol.MediaStream,
	prelude:   append(bytes.Repeat([]byte{' '}, preludeBytes), '\n'),
	encode:    func(b []byte, w protocol.Wire) []byte { return append(b, w.Line()...) },
}

// serveStream attaches over a response that does not end: SSE or NDJSON.
func (g *Gateway) serveStream(w http.ResponseWriter, r *http.Request, m *medium, from client, hello *protocol.Hello) error {
	a, err := g.attach(r.Context(), m, hello, from)
	if err != nil {
		return err
	}
	defer a.detach()
	h := w.Header()
	h.Set("Content-Type", m.media)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx buffers responses unless told not to
	h.Set("Incremental", "?1")       // RFC 10036
	w.WriteHeader(http.StatusOK)
	to := newResponseSink(w, a.share.Stall)
	defer to.restoreDeadline()
	_, err = a.pump(r.Context(), to)
	g.ended(a, err)
	return nil
}

// responseSink writes to an HTTP response.
type responseSink struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   func() time.Duration
	moved   atomic.Int64 // when the last part began, in nanoseconds of the Unix epoch
}

func newResponseSink(w http.ResponseWriter, stall func() time.Duration) *responseSink {
	return &responseSink{w: w, control: http.NewResponseController(w), stall: stall}
}

// chunkBytes is what a slow client must take within the stall limit.
// net/http does not tell how much of a write was taken, so it is done in parts.
const chunkBytes = 8 << 10

// setDeadline gives what is written next its time.
func (s *responseSink) setDeadline() error {
	now := time.Now()
	s.moved.Store(now.UnixNano())
	if err := s.control.SetWriteDeadline(now.Add(s.stall())); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // a test's
}

// restoreDeadline gives the connection's next response its time.
func (s *responseSink) restoreDeadline() { _ = s.setDeadline() } // fails only with the connection

func (s *responseSink) cut() { _ = s.control.SetWriteDeadline(time.Now()) } // a part that begins later has its own time

// cutIfStuck cuts a write off whose part began before then, and reports whether it did.
func (s *responseSink) cutIfStuck(before time.Time) bool {
	if s.moved.Load() > before.UnixNano() {
		return false
	}
	s.cut()
	return true
}

func (s *responseSink) write(p []byte) error {
	if err := s.writeAll(p); err != nil {
		return err
	}
	_ = s.control.SetWriteDeadline(time.Time{}) // at which HTTP/2 ends a stream that has nothing to write as well
	return nil
}

// writeAll is write, but what is written next has what is left of its time.
func (s *responseSink) writeAll(p []byte) error {
	if err := s.writeParts(p); err != nil {
		return err
	}
	return s.control.Flush() // or it would be written when nobody watches any more
}

// writeParts is writeAll, but net/http may hold the last of it back.
func (s *responseSink) writeParts(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunkBytes)
		if err := s.setDeadline(); err != nil {
			return err
		}
		if _, err := s.w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

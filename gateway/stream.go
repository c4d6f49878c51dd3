package gateway

import (
	"bytes"
	"net/http"
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
	h.Set("X-Accel-Buffering", "no") // nginx buffers responses unless told not to
	h.Set("Incremental", "?1")       // RFC 10036
	w.WriteHeader(http.StatusOK)
	to := &responseSink{w: w, control: http.NewResponseController(w), stall: g.door.Stall}
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
}

// chunkBytes is what a slow client must take within the stall limit.
// net/http does not tell how much of a write was taken, so it is done in parts.
const chunkBytes = 8 << 10

// restoreDeadline gives the connection's next response its time.
func (s *responseSink) restoreDeadline() {
	_ = s.control.SetWriteDeadline(time.Now().Add(s.stall())) // fails only with the connection
}

func (s *responseSink) cut() { _ = s.control.SetWriteDeadline(time.Now()) } // a part that begins later has its own time

func (s *responseSink) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunkBytes)
		if err := s.control.SetWriteDeadline(time.Now().Add(s.stall())); err != nil {
			return err
		}
		if _, err := s.w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return s.control.Flush()
}

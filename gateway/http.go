package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// handlerFunc is a handler that leaves its errors to handle.
type handlerFunc func(http.ResponseWriter, *http.Request) error

// handle makes an http.Handler that answers errors as problem details.
func (g *Gateway) handle(f handlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			g.problem(w, r, err)
		}
	}
}

// problem is an error as an answer (RFC 9457).
type problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Code   protocol.Code `json:"code"`
	*ingested
}

func (g *Gateway) problem(w http.ResponseWriter, r *http.Request, err error) {
	e := protocol.ErrorFrom(err)
	if e.Code == protocol.Internal && r.Context().Err() != nil {
		// The client went away, or has only shut down its side: what then looks like a 200 would be a lie.
		e = errCancelled().Because(err)
	}
	g.countError(e)
	g.logInternal(e)
	status := e.Code.HTTPStatus()
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code}
	if partial, ok := errors.AsType[*partialError](err); ok {
		p.ingested = partial.progress
	}
	if after := retryAfter(e); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	if challenge := auth.Challenge(e); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if r.ProtoMajor == 1 && (r.ContentLength < 0 || e.Code == protocol.Timeout || e.Code == protocol.TooLarge) {
		w.Header().Set("Connection", "close") // or net/http reads the rest of the body before it answers
	}
	body, err := json.Marshal(p)
	if err != nil {
		g.log.Error("a problem cannot be marshalled", "error", err)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	g.write(w, status, body)
}

// retryAfter is how long a client should wait (PROTOCOL.md 2.3), or 0.
func retryAfter(e *protocol.Error) time.Duration {
	if e.RetryAfter == 0 && (e.Code == protocol.Unavailable || e.Code == protocol.RateLimited) {
		return time.Second
	}
	return e.RetryAfter
}

func errCancelled() *protocol.Error {
	return protocol.Errorf(protocol.Timeout, "the request was cancelled: retry, with the same key")
}

// logInternal logs what a client is not told.
func (g *Gateway) logInternal(e *protocol.Error) {
	if e.Code == protocol.Internal {
		g.log.Error("internal error", "error", e)
	}
}

// ended logs how an attachment ended.
func (g *Gateway) ended(a *attachment, err error) {
	g.log.Debug("attachment ended", "attachment", a.id, "transport", a.transport, "error", err)
}

// marshalJSON answers with v, which is small.
func (g *Gateway) marshalJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", protocol.MediaJSON)
	g.write(w, status, body)
	return nil
}

func (g *Gateway) writeJSON(w http.ResponseWriter, status int, body []byte, held *admission.Answer) {
	w.Header().Set("Content-Type", protocol.MediaJSON)
	g.writeHeld(w, status, body, held)
}

// write answers with a small body.
func (g *Gateway) write(w http.ResponseWriter, status int, body []byte) {
	held := g.door.Answer(admission.Client{}) // not worth to be counted to somebody
	defer held.Leave()
	g.writeHeld(w, status, body, held)
}

// writeHeld answers with a body of any size, counted to whom it is for. It
// takes as long as the client does that does not stand still.
func (g *Gateway) writeHeld(w http.ResponseWriter, status int, body []byte, held *admission.Answer) {
	held.Has(len(body))
	h := w.Header()
	h.Set("Cache-Control", "no-store") // caches keep a GET without it
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	to := newResponseSink(w, held.Stall)
	_ = to.setDeadline() // its time begins now: a poll, or a place in a queue, may have taken long
	w.WriteHeader(status)
	g.answers.begin(to, held)
	defer g.answers.end(to)
	g.countStall("write_stall", to.writeParts(body)) // fails only if nobody is there to read it
}

// body is the request's body as it comes. It fails with os.ErrDeadlineExceeded
// when it stands still for longer than the limit.
func (g *Gateway) body(w http.ResponseWriter, r *http.Request) *stallReader {
	return &stallReader{r: r.Body, control: http.NewResponseController(w), stall: g.limits().BodyStall, count: g.metrics.bytesIn.Add}
}

// checkEncoding reports that the body is compressed.
func checkEncoding(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return protocol.Errorf(protocol.UnsupportedMediaType, "the body is encoded with %.40q: send it as it is", encoding)
	}
	return nil
}

// readBody is the whole body, at most limit bytes of it. From is who sends it,
// with the grant if that is known before.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, from client, limit int) ([]byte, error) {
	if err := checkEncoding(r); err != nil {
		return nil, err
	}
	if r.ContentLength > int64(limit) {
		return nil, g.tooLarge(limit)
	}
	coming := g.body(w, r)
	coming.by = time.Now().Add(coming.stall + time.Duration(limit)*time.Second/minBodyRate)
	counted := g.door.Body(g.sends(from), io.LimitReader(coming, int64(limit)+1))
	defer counted.Leave()
	body, err := io.ReadAll(counted)
	if err != nil {
		return nil, g.bodyError(err)
	}
	if len(body) > limit {
		return nil, g.tooLarge(limit)
	}
	return body, nil
}

// countStall counts an operation that failed because the client let it stand
// still for longer than the limit.
func (g *Gateway) countStall(limit string, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.countRefused(limit)
	}
}

// bodyError is what a client is told of a body that did not come.
func (g *Gateway) bodyError(err error) error {
	g.countStall("body_stall", err)
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
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
	if errors.Is(err, io.EOF) {
		// The next request comes on the same connection. After another error net/http reads what is left of the body, and must not wait for it.
		_ = s.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

package gateway

import (
	"context"
	"encoding/json"
	"errors"
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
		asked := gistOf(r)
		if err := f(w, r); err != nil {
			g.problem(w, asked, err)
		}
	}
}

// gist is what a problem needs of its request, so that nothing holds the rest
// while the answer is written: see own.
type gist struct {
	ctx    context.Context // stored because its error is asked for at the end
	proto  int
	length int64 // of the body; below zero: it is not known
}

func gistOf(r *http.Request) gist { return gist{r.Context(), r.ProtoMajor, r.ContentLength} }

// problem is an error as an answer (RFC 9457).
type problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Code   protocol.Code `json:"code"`
	*ingested
}

func (g *Gateway) problem(w http.ResponseWriter, asked gist, err error) {
	e := protocol.ErrorFrom(err)
	if e.Code == protocol.Internal && asked.ctx.Err() != nil {
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
	if asked.proto == 1 && (asked.length < 0 || e.Code == protocol.Timeout || e.Code == protocol.TooLarge) {
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

// smallStall is how long a client may take nothing of an answer that is small,
// and counted to nobody, over a connection that has many at a time: HTTP/2.
const smallStall = 10 * time.Second

// stallOf is how long the client may take nothing of such an answer.
func (g *Gateway) stallOf(w http.ResponseWriter) func() time.Duration {
	if _, alone := w.(http.Hijacker); alone { // HTTP/1.1, where net/http first reads what is left of the body
		return g.door.Stall
	}
	return func() time.Duration { return min(g.door.Stall(), smallStall) }
}

// write answers with a small body.
func (g *Gateway) write(w http.ResponseWriter, status int, body []byte) {
	held := g.door.Answer(admission.Client{}) // not worth to be counted to somebody
	defer held.Leave()
	g.writeFor(w, status, body, held, g.stallOf(w))
}

// writeHeld answers with a body of any size, counted to whom it is for. It
// takes as long as the client does that does not stand still.
func (g *Gateway) writeHeld(w http.ResponseWriter, status int, body []byte, held *admission.Answer) {
	g.writeFor(w, status, body, held, held.Stall)
}

// writeFor is writeHeld with how long the client may stand still.
func (g *Gateway) writeFor(w http.ResponseWriter, status int, body []byte, held *admission.Answer, stall func() time.Duration) {
	held.Has(len(body))
	h := w.Header()
	h.Set("Cache-Control", "no-store") // caches keep a GET without it
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	to := newResponseSink(w, stall)
	_ = to.setDeadline() // its time begins now: a poll, or a place in a queue, may have taken long
	w.WriteHeader(status)
	g.answers.begin(to, held)
	defer g.answers.end(to)
	g.countStall("write_stall", to.writeAll(body)) // fails only if nobody is there to read it
}

// countStall counts an operation that failed because the client let it stand
// still for longer than the limit.
func (g *Gateway) countStall(limit string, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.countRefused(limit)
	}
}

package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

const problemMedia = "application/problem+json" // RFC 9457

// A timeline fills in an observation as things happen. Not for concurrent use.
type timeline struct {
	began time.Time
	seen  doctor.Observation
}

func newTimeline(t protocol.Transport, limit time.Duration) *timeline {
	return &timeline{began: time.Now(), seen: doctor.Observation{Probe: string(t), Limit: milliseconds(limit)}}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// now is the time since the beginning; never zero, which is "not yet".
func (l *timeline) now() float64 { return max(0.01, milliseconds(time.Since(l.began))) }

// answered notes the response's headers, and the gateway's own error if it is one.
func (l *timeline) answered(r *http.Response) {
	l.seen.Opened, l.seen.Status, l.seen.By = l.now(), r.StatusCode, by(r.Header)
	l.seen.Type, l.seen.Encoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	l.seen.CacheControl = strings.Join(r.Header.Values("Cache-Control"), ", ")
	if strings.HasPrefix(l.seen.Type, problemMedia) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16)) // what is missing makes no sense as JSON
		l.refused(body)
	}
}

// refused notes an error of the gateway's own: a problem, or an error frame.
func (l *timeline) refused(body []byte) {
	var e struct{ Code, Detail, Message string }
	if json.Unmarshal(body, &e) == nil && e.Code != "" {
		l.seen.Code, l.seen.Detail = e.Code, e.Detail+e.Message
	}
}

// frame notes a frame, and tells whether there is nothing more to wait for.
func (l *timeline) frame(b []byte) (done bool) {
	var f struct{ Op string }
	if json.Unmarshal(b, &f) != nil || f.Op == "" {
		l.seen.End = doctor.Damaged
		return true
	}
	switch f.Op {
	case protocol.OpError:
		l.refused(b)
		return true
	case protocol.OpWelcome:
		l.seen.Welcome = l.now()
	case protocol.OpProof:
		l.seen.Proof = l.now()
	}
	return l.seen.Welcome > 0 && l.seen.Proof > 0
}

// failed notes how it ended: err is from a request or from reading its response.
func (l *timeline) failed(ctx context.Context, err error) {
	l.seen.Ended = l.now()
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), isNet && timeout.Timeout():
		l.seen.End = doctor.Timeout
	case errors.Is(err, io.EOF):
		l.seen.End = doctor.EOF
	default:
		l.seen.End = doctor.Reset
	}
}

// by is who answered, as far as the headers tell. The gateway itself does not say who it is.
func by(h http.Header) string {
	var who []string
	for _, name := range []string{"Server", "Via", "X-Cache", "Cf-Ray"} {
		if value := h.Get(name); value != "" && name == "Cf-Ray" {
			who = append(who, "Cloudflare")
		} else if value != "" && !slices.Contains(who, value) {
			who = append(who, value)
		}
	}
	return strings.Join(who, ", ")
}

// helloBody is a hello that asks for no channels, and for the rarest beats.
func helloBody(wait float64) []byte {
	b, err := json.Marshal(map[string]any{
		"op": protocol.OpHello, "channels": map[string]any{}, "beat": doctor.Words.Limits.Beat, "wait": wait,
	})
	if err != nil {
		panic(err) // of numbers and strings
	}
	return b
}

// attach asks for an attachment by POST, as clients do, or by GET without a body.
func (p *patient) attach(ctx context.Context, method, accept string, wait float64) (*http.Response, error) {
	address, body := p.url("attach"), io.Reader(bytes.NewReader(helloBody(wait)))
	if method == http.MethodGet {
		address, body = address+"?wait=0", nil
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	// Browsers always do; whether it tempts anybody is what is asked. Said here, net/http leaves what comes as it is.
	r.Header.Set("Accept-Encoding", "gzip")
	if body != nil {
		r.Header.Set("Content-Type", protocol.MediaJSON)
	}
	p.show(r)
	return p.client.Do(r)
}

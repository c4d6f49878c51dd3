package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// recorder is a ResponseWriter without a connection.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}
func (r *recorder) Flush()                           { r.WriteHeader(http.StatusOK) }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// Whatever a request holds: no panic, no fault of the server, and refusals are problems.
func FuzzHTTP(f *testing.F) {
	for _, seed := range [][4]string{
		{"GET", "/v1/attach?channel=a&after=0&wait=0", "Accept: text/event-stream", ""},
		{"GET", "/v1/attach?channel=a", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: fairlead.v1", ""},
		{"POST", "/v1/attach", "Accept: application/x-ndjson", `{"session":"s","wait":0,"channels":{"a.>":{"last":2}}}`},
		{"POST", "/v1/commands", "", `{"session":"s","attachment":"x.1","commands":[{"op":"publish","cid":1,"channel":"a","data":1},{"op":"bye"}]}`},
		{"POST", "/v1/channels/a%2eb/messages", "Content-Type: text/event-stream\nFairlead-Type: x", "data: 1\nid: 2\n\n"},
		{"POST", "/v1/channels/a/messages", "Content-Type: application/json\nIdempotency-Key: \"k\"", `[{"data":1,"encoding":"base64"},null]`},
		{"POST", "/v1/channels/a/messages", "Content-Type: application/x-ndjson", "{\"data\":1}\n{"},
		{"GET", "/v1/channels/a/messages?before=a-1&limit=5", "", ""},
		{"DELETE", "/v1/channels/a/messages", "", ""},
		{"POST", "/v1/publish", "", `{"channels":["a","b"],"data":{}}`},
		{"PUT", "/v1//ping?%zz", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	w := newRealWorld(f, Options{Limits: Limits{Frame: 4 << 10, Batch: 16 << 10}}, broker.Options{MaxBytes: 16 << 20})
	f.Fuzz(func(t *testing.T, method, target, headers string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			t.Skip()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		r := (&http.Request{Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: request{headers: headers}.header(), Host: "x",
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RequestURI: target}).WithContext(ctx)
		a := &recorder{header: http.Header{}}
		w.g.Handler().ServeHTTP(a, r)
		if a.status == 500 {
			t.Errorf("got %s", a.body.String())
		}
		if a.status >= 400 && strings.HasPrefix(u.Path, "/v1/") {
			var p struct {
				Status int
				Code   protocol.Code
				Detail string
			}
			if err := json.Unmarshal(a.body.Bytes(), &p); err != nil || p.Status != a.status || p.Code.HTTPStatus() != a.status || p.Detail == "" || a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d %s", a.status, a.body.String())
			}
		}
	})
}

// Whatever follows the handshake: no panic, and the connection ends.
func FuzzWebSocket(f *testing.F) {
	mask := func(op byte, payload string) []byte {
		return append([]byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	}
	hello := mask(1, `{"op":"hello","channels":{"a":{"after":"0"}}}`)
	f.Add(hello)
	f.Add(append(hello, mask(1, `{"op":"publish","cid":1,"channel":"a","data":5}`)...))
	f.Add(append(hello, mask(8, "\x03\xe8")...))
	f.Add(append(hello, mask(9, "ping")...))
	f.Add(append(hello, 0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0))
	f.Add([]byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'})
	w := newRealWorld(f, Options{Limits: Limits{Frame: 4 << 10}}, broker.Options{MaxBytes: 16 << 20})
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { // ends with the connection, which this test waits for
			defer close(done)
			defer func() { _ = far.Close() }()
			c := &webSocket{g: w.g, conn: far, read: far, place: &place{g: w.g}, stall: func() time.Duration { return time.Second }}
			c.serve(nil)
		}()
		read := make(chan struct{})
		go func() { // ends with the connection
			defer close(read)
			_, _ = io.Copy(io.Discard, near)
		}()
		_, _ = near.Write(data) // fails if the server has closed
		_ = near.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the connection does not end")
		}
		<-read
	})
}

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
	"github.com/fairlead/fairlead/gateway/admission"
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
		{"POST", "/v1/tickets", "Origin: null\nSec-Fetch-Site: cross-site", ""},
		{"POST", "/v1/revoke", "", `{"sub":"ann","before":1}`},
		{"OPTIONS", "/v1/attach", "Origin: https://a.example\nAccess-Control-Request-Method: POST", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	w := newRealWorld(f, Options{Limits: Limits{Frame: 4 << 10, Batch: 16 << 10}}, broker.Options{MaxBytes: 16 << 20})
	f.Fuzz(func(t *testing.T, method, target, headers string, body []byte) {
		a := w.fuzzedCall(t, method, target, request{headers: headers}.header(), body)
		a.check(t, target)
	})
}

// fuzzedCall is the answer to any request. It skips what net/http would not hand over.
func (w *world) fuzzedCall(t *testing.T, method, target string, header http.Header, body []byte) *recorder {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		t.Skip()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r := (&http.Request{Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Host: "x",
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RequestURI: target}).WithContext(ctx)
	a := &recorder{header: http.Header{}}
	w.g.Handler().ServeHTTP(a, r)
	return a
}

// check checks that an answer is no fault of the server, that a refusal is a
// problem, and that no header is more than one.
func (r *recorder) check(t *testing.T, target string) {
	waited := strings.HasPrefix(target, attachPath) // until its client went away
	if r.status == 0 && !waited || r.status == 500 {
		t.Errorf("got %d %s", r.status, r.body.String())
	}
	for name, values := range r.header {
		if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
			t.Errorf("got the header %q: %q", name, values)
		}
	}
	if r.status < 400 || !strings.HasPrefix(target, "/v1/") {
		return
	}
	var p struct {
		Status int
		Code   protocol.Code
		Detail string
	}
	if err := json.Unmarshal(r.body.Bytes(), &p); err != nil || p.Status != r.status || p.Code.HTTPStatus() != r.status || p.Detail == "" || r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s", r.status, r.body.String())
	}
}

// Whatever follows the handshake: no panic, and the connection ends.
func FuzzWebSocket(f *testing.F) {
	mask := func(op byte, payload string) []byte {
		return append([]byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	}
	hello := mask(1, `{"op":"hello","channels":{"chat.1":{"after":"0"},"secret":{"after":"0"}}}`)
	for who := range 3 {
		f.Add(who, hello)
		f.Add(who, append(hello, mask(1, `{"op":"publish","cid":1,"channel":"chat.1","data":5}`)...))
		f.Add(who, append(hello, mask(1, `{"op":"subscribe","channel":">"}`)...))
		f.Add(who, append(hello, mask(1, `{"op":"history","channel":"secret","cid":1}`)...))
		f.Add(who, append(hello, mask(1, `{"op":"auth","token":"x"}`)...))
		f.Add(who, append(hello, mask(8, "\x03\xe8")...))
		f.Add(who, append(hello, mask(9, "ping")...))
		f.Add(who, append(hello, 0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0))
		f.Add(who, []byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'})
	}
	w := newWatched(f)
	f.Fuzz(func(t *testing.T, who int, data []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		place, err := w.g.door.Attach(admission.Client{})
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the connection, which this test waits for
			defer close(done)
			defer place.Leave()
			defer func() { _ = far.Close() }()
			c := &webSocket{g: w.g, conn: far, read: far, at: arrival{place: place, shown: credential{text: w.shown(who)}}, stall: func() time.Duration { return time.Second }}
			c.serve(nil)
		}()
		var said bytes.Buffer
		read := make(chan struct{})
		go func() { // ends with the connection
			defer close(read)
			_, _ = io.Copy(&said, near)
		}()
		_, _ = near.Write(data) // fails if the server has closed
		_, _ = near.Write(mask(1, `{"op":"bye"}`))
		select {
		case <-done: // everything was said
		case <-time.After(5 * time.Millisecond): // there was an end of a frame missing
		}
		_ = near.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the connection does not end")
		}
		<-read
		w.check(t, who, said.String())
	})
}

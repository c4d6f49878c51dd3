package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// PROTOCOL.md 3.3.
func TestStreamsTellIntermediariesNotToHoldThemBack(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.openGet(transport, "channel=a", "Accept-Encoding: gzip, br")
		for name, want := range map[string]string{"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Incremental": "?1", "Content-Encoding": "", "Content-Length": ""} {
			if got := l.response.Header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		first, err := bufio.NewReaderSize(l.response.Body, 16<<10).Peek(2048)
		if err != nil || strings.ContainsAny(string(first), "{}") {
			t.Errorf("the first 2 KiB are %q, %v", first, err)
		}
		if transport == protocol.SSE && !strings.HasPrefix(string(first), "retry: ") {
			t.Errorf("the stream begins with %q, want retry", first[:40])
		}
	}, protocol.SSE, protocol.Stream)
}

// PROTOCOL.md 3.2: the cursor in id, where the browser keeps it for Last-Event-ID.
func TestSSEEventsCarryTheCursorAndTheOp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1)
		rewinding := w.openGet(protocol.SSE, "channel=a&after=0", "")
		if f := rewinding.want("welcome"); f.lastID != "" {
			t.Errorf("the welcome of a rewinding channel has the id %q: a browser would skip what follows", f.lastID)
		}
		l := w.openGet(protocol.SSE, "channel=a", "")
		if f := l.want("welcome"); f.lastID != f.ID {
			t.Errorf("the welcome has the id %q, want %q", f.lastID, f.ID)
		}
		if f := l.want("proof"); f.lastID != "" {
			t.Errorf("the proof has the id %q", f.lastID)
		}
		w.publish("a", `"line\nbreak"`)
		for _, op := range []string{"message", "beat"} {
			if f := l.want(op); f.lastID != f.ID || f.ID == "" {
				t.Errorf("the %s has the id %q, want %q", op, f.lastID, f.ID)
			}
		}
		purge := w.call(request{method: "DELETE", path: "/v1/channels/a/messages"})
		if f := l.want("gap"); f.lastID != purge.ID {
			t.Errorf("the gap has the id %q, want %q", f.lastID, purge.ID)
		}
	})
}

func TestAnHTTP10ClientGetsAStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		conn := w.dial()
		defer func() { _ = conn.Close() }()
		_, err := io.WriteString(conn, "GET /v1/attach?channel=a HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		response, err := http.ReadResponse(r, nil)
		if err != nil || response.StatusCode != 200 || len(response.TransferEncoding) > 0 {
			t.Fatalf("got %+v, %v", response, err)
		}
		events := bufio.NewReader(response.Body)
		if f, err := readEvent(t, events); err != nil || f.Op != "welcome" {
			t.Fatalf("got %s, %v", f, err)
		}
		w.publish("a", 1)
		if f, err := readEvent(t, events); err != nil || f.Op != "message" {
			t.Errorf("got %s, %v", f, err)
		}
	})
}

func TestHTTP2CarriesStreamsAndPolls(t *testing.T) {
	w := newRealWorld(t, Options{}, broker.Options{})
	server := httptest.NewUnstartedServer(w.g.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	w.client = server.Client()
	w.client.Transport = rehost{server.Listener.Addr().String(), w.client.Transport}
	for _, transport := range []protocol.Transport{protocol.SSE, protocol.Stream, protocol.Poll} {
		l := w.attach(transport, `{"wait":0,"channels":{"a":{}}}`)
		if l.response != nil && l.response.ProtoMajor != 2 {
			t.Errorf("%s came over %s", transport, l.response.Proto)
		}
		for i := range 3 {
			w.publish("a", i)
			equal(t, string(transport), l.collect(1), []string{fmt.Sprint(i)})
		}
		l.hangUp()
	}
	a := w.call(request{method: "POST", path: "/v1/channels/a/messages", headers: "Content-Type: application/json", body: `{"data":"` + strings.Repeat("x", 300<<10) + `"}`})
	a.wantProblem(t, "a body over the limit over HTTP/2", protocol.TooLarge)
	w.client.CloseIdleConnections()
}

// rehost sends every request to one server, over TLS.
type rehost struct {
	addr string
	next http.RoundTripper
}

func (h rehost) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = "https", h.addr
	return h.next.RoundTrip(r)
}

func (h rehost) CloseIdleConnections() { h.next.(*http.Transport).CloseIdleConnections() }

// A wss:// connection is hijacked below TLS.
func TestWebSocketOverTLS(t *testing.T) {
	w := newRealWorld(t, Options{}, broker.Options{})
	server := httptest.NewTLSServer(w.g.Handler())
	t.Cleanup(server.Close)
	config := server.Client().Transport.(*http.Transport).TLSClientConfig
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	l := w.handshake(conn, "/v1/attach", "")
	l.sendText(`{"op":"hello","channels":{"a":{}}}`)
	l.want("welcome")
	w.publish("a", 1)
	equal(t, "over TLS", l.collect(1), []string{"1"})
	l.sendText(`{"op":"bye"}`)
	l.wantClose(1000)
}

// A client that takes nothing for the stall limit is let go; one that takes little by little is not.
func TestAClientThatTakesNothingIsLetGo(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{WriteStall: time.Minute}}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		for i := range 100 {
			w.publish("a", fmt.Sprintf("%d%s", i, strings.Repeat(" ", 1000)))
		}
		for range 40 { // slower than the stall limit allows for everything together
			time.Sleep(5 * time.Second)
			l.want("message")
		}
		if n := w.g.attachment(l.welcome.Attachment); n == nil {
			t.Error("a client that reads slowly was let go")
		}
		time.Sleep(5 * time.Minute)
		if a := w.g.attachment(l.welcome.Attachment); a != nil {
			t.Error("a client that reads nothing is still attached")
		}
		if n := w.timesRefused("write_stall"); n != 1 {
			t.Errorf("counted %v times", n)
		}
	}, streams...)
}

// Nothing guesses another type for it (PROTOCOL.md 3.2 and 3.3).
func TestAStreamIsWhatItSays(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, aHello)
		defer l.hangUp()
		h := l.response.Header
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Cache-Control"), "no-store") {
			t.Errorf("got %v", h)
		}
	}, protocol.SSE, protocol.Stream)
}

package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// hold has so many requests of an address be in progress until done is called.
func (w *world) hold(n int, addr string) (done func()) {
	w.t.Helper()
	at := admission.Client{IP: netip.MustParseAddrPort(addr).Addr()}
	for range n {
		if err := w.g.door.Serve(at); err != nil {
			w.t.Fatal(err)
		}
	}
	return func() {
		for range n {
			w.g.door.Served(at)
		}
	}
}

// wantPing checks that the client is served. Its answer comes a moment before the
// request is none in progress any more.
func (w *world) wantPing(what string) {
	w.t.Helper()
	w.settle()
	if a := w.call(request{method: "GET", path: "/v1/ping"}); a.status != 200 {
		w.t.Errorf("%s: got %d %s", what, a.status, a.body)
	}
}

// wantRequestRefused is wantRefused, for clients that may not look at the metrics either.
func (w *world) wantRequestRefused(at *world, r request) {
	w.t.Helper()
	const name = `fairlead_refused_total{limit="requests_per_ip"}`
	before := w.metrics()[name]
	w.settle()
	a := at.call(r)
	a.wantProblem(w.t, r.method+" "+r.path, protocol.RateLimited)
	if after, n := a.header.Get("Retry-After"), w.metrics()[name]; a.status != 429 || after != "5" || n != before+1 {
		w.t.Errorf("%s %s: got %d, Retry-After %q, counted %v times", r.method, r.path, a.status, after, n-before)
	}
}

func TestRequestsOfAnAddressAtATimeAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{TrustedProxies: prefixes("10.0.0.0/8"), Origins: []string{"https://a.example"}, Limits: Limits{RequestsPerIP: 2, Header: 4 << 10}}, broker.Options{})
		done := w.hold(2, someone)
		page := request{method: "GET", path: "/"}
		for _, r := range []request{
			page, anAttach, aPoll, poster("a", "text/plain", "x"),
			{method: "HEAD", path: "/doctor"},
			{method: "GET", path: "/v1/ping"},
			{method: "GET", path: "/v1/client.js"},
			{method: "GET", path: "/healthz"},
			{method: "GET", path: "/nothing"},
			{method: "GET", path: "/v1/ping", headers: "Cookie: " + strings.Repeat("c", 5<<10)},
			{method: "POST", path: "/v1/tickets"},
			{method: "OPTIONS", path: "/v1/attach", headers: "Origin: https://a.example\nAccess-Control-Request-Method: POST"},
		} {
			if r.method == "HEAD" {
				if a := w.from(someone).send(r); a.StatusCode != 429 {
					t.Errorf("HEAD: got %d", a.StatusCode)
				}
				continue
			}
			w.wantRequestRefused(w.from(someone), r)
		}
		behind := page
		behind.headers = "X-Forwarded-For: 192.0.2.7"
		w.wantRequestRefused(w.from("10.1.2.3:1"), behind)
		for _, at := range []string{another, "127.0.0.1:1", "10.1.2.3:1"} {
			if a := w.from(at).call(page); a.status != 200 {
				t.Errorf("%s: got %d", at, a.status)
			}
		}
		done()
		for range 5 {
			w.from(someone).wantPing("afterwards")
		}
	})
}

// An attachment is a request for as long as it lasts, a WebSocket only while it begins.
func TestWhichAttachmentsAreRequests(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{RequestsPerIP: 1}}, broker.Options{})
		l := w.from(someone).attach(transport, aHello)
		if transport == protocol.WebSocket {
			w.from(someone).wantPing("beside it")
		} else {
			w.wantRequestRefused(w.from(someone), request{method: "GET", path: "/v1/ping"})
		}
		l.hangUp()
		for range 3 {
			w.from(someone).wantPing("afterwards")
		}
	}, streams...)
}

func TestAPanicLeavesItsRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{RequestsPerIP: 1}}, broker.Options{})
		for range 3 {
			func() {
				defer func() { _ = recover() }()
				r := httptest.NewRequest("GET", "/v1/ping", nil)
				r.RemoteAddr = someone
				w.g.Handler().ServeHTTP(writerTrap{httptest.NewRecorder(), http.ErrAbortHandler}, r)
				t.Error("there was no panic")
			}()
		}
		w.from(someone).wantPing("after panics")
	})
}

// An answer that nobody takes, whatever it is, counts over HTTP/2 as well, where a
// client may have many on one connection; if it is small, it is soon cut off.
func TestAnswersThatNobodyTakesAreRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, c := range map[string]struct{ method, path, accept string }{
			"a ping":            {"GET", "/v1/ping", "*/*"},
			"a page":            {"GET", "/", "*/*"},
			"the doctor's page": {"GET", "/doctor", "*/*"},
			"client.js":         {"GET", "/v1/client.js", "*/*"},
			"nothing":           {"GET", "/nothing", "*/*"},
			"nothing of a page": {"GET", "/doctor/nothing", "*/*"},
			"another method":    {"GET", "/v1/publish", "*/*"},
			"a bad request":     {"GET", "/v1/attach?channel=a..b", "*/*"},
			"a large header":    {"GET", "/v1/ping", strings.Repeat("x", 5<<10)},
			"health":            {"GET", "/healthz", "*/*"},
		} {
			w := newWorld(t, Options{Limits: Limits{RequestsPerIP: 1, Header: 4 << 10}}, broker.Options{})
			listener := newPipeListener()
			protocols := new(http.Protocols)
			protocols.SetUnencryptedHTTP2(true)
			server := &http.Server{Handler: w.g.Handler(), Protocols: protocols}
			var wg sync.WaitGroup
			wg.Go(func() { _ = server.Serve(listener) })
			conn := listener.dialFrom(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(someone)))
			shut(c.method, c.path, c.accept)(t, conn)
			synctest.Wait()
			ping := request{method: "GET", path: "/v1/ping"}
			time.Sleep(smallStall - time.Second)
			w.wantRequestRefused(w.from(someone), ping)
			time.Sleep(2 * time.Second)
			w.from(someone).wantPing(name)
			if n := w.metrics()[`fairlead_refused_total{limit="write_stall"}`]; n != 1 {
				t.Errorf("%s: %v stalls are counted", name, n)
			}
			_ = conn.Close()
			_ = server.Close()
			wg.Wait()
		}
	})
}

// Who does not take refusals either is not answered any more.
func TestAFloodIsCutOffWithoutAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{RequestsPerIP: 1}}, broker.Options{})
		at := admission.Client{IP: netip.MustParseAddrPort(someone).Addr()}
		n := 0
		for ; w.g.door.Serve(at) != admission.ErrFlood; n++ {
		}
		ping := request{method: "GET", path: "/v1/ping"}
		if a, err := w.from(someone).trySend(ping); err == nil {
			t.Errorf("got %s", a.Status)
			_ = a.Body.Close()
		}
		if m := w.metrics(); m["fairlead_panics_total"] != 0 || w.logs.String() != "" {
			t.Errorf("it is taken for a bug: %s", w.logs)
		}
		w.g.door.Served(at)
		w.wantRequestRefused(w.from(someone), ping)
		for range n - 1 {
			w.g.door.Served(at)
		}
		w.from(someone).wantPing("afterwards")
	})
}

// Who takes a part of a file in time has all of it, however long that lasts.
func TestAFileIsTakenAsSlowlyAsItsPartsMayBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.overHTTP2With(&http.HTTP2Config{MaxReceiveBufferPerStream: chunkBytes})
		began, response := time.Now(), w.send(request{method: "GET", path: "/v1/client.js"})
		n := 0
		for part := make([]byte, chunkBytes); ; n++ {
			if _, err := io.ReadFull(response.Body, part); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("after %v, part %d: %v", time.Since(began), n, err)
			}
			time.Sleep(smallStall - time.Second)
		}
		if took := time.Since(began); took < 2*smallStall {
			t.Errorf("%d parts took %v: that shows nothing", n, took)
		}
	})
}

// writerOf is a response of which each write calls then.
type writerOf struct {
	*recorder

	then func()
}

func (w writerOf) Write(p []byte) (int, error) {
	w.then()
	return w.recorder.Write(p)
}

// While an answer waits for its client, or an attachment lasts, what the request's
// header and URL took is free.
func TestAnAnswerHoldsNothingOfItsRequest(t *testing.T) {
	w := newRealWorld(t, Options{}, broker.Options{})
	for name, c := range map[string]request{
		"a ping":            {method: "GET", path: "/v1/ping"},
		"a page":            {method: "GET", path: "/"},
		"client.js":         {method: "GET", path: "/v1/client.js"},
		"nothing":           {method: "GET", path: "/nothing"},
		"another method":    {method: "PUT", path: "/v1/ping"},
		"a large header":    {method: "GET", path: "/v1/ping", headers: "Cookie: " + strings.Repeat("c", 33<<10)},
		"a history page":    {method: "GET", path: "/v1/channels/a/messages"},
		"a refused page":    {method: "GET", path: "/v1/channels/a..b/messages"},
		"another's page":    {method: "GET", path: "/v1/channels/a/messages", headers: "Origin: https://b.example"},
		"SSE":               {method: "GET", path: "/v1/attach?channel=a", headers: "Accept: text/event-stream"},
		"NDJSON":            {method: "GET", path: "/v1/attach?channel=a", headers: "Accept: application/x-ndjson"},
		"a poll":            {method: "GET", path: "/v1/attach?channel=a&wait=0"},
		"what is published": poster("a", "text/plain", "x"),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		junk, u := &[1]string{name}, new(url.URL)
		*u = *httptest.NewRequest("GET", c.path, nil).URL
		header := c.header()
		header["X-Junk"] = junk[:]
		r := httptest.NewRequestWithContext(ctx, c.method, c.path, strings.NewReader(c.body))
		r.URL, r.Header = u, header
		goneJunk, goneURL := weak.Make(junk), weak.Make(u)
		writes := 0
		to := writerOf{&recorder{header: http.Header{}}, func() {
			if writes++; writes == 1 {
				runtime.GC()
				if goneJunk.Value() != nil {
					t.Errorf("%s: the header is still there", name)
				}
				if goneURL.Value() != nil {
					t.Errorf("%s: the URL is still there", name)
				}
			}
			cancel() // ends an attachment
		}}
		junk, u, header = nil, nil, nil
		w.g.Handler().ServeHTTP(to, r)
		if cancel(); writes == 0 || r.Header != nil || r.RequestURI != "" {
			t.Errorf("%s: %d writes, and %v %q is left", name, writes, r.Header, r.RequestURI)
		}
	}
}

// Nor does a poll while it waits, an attachment to which nothing is written, or a body that is to come.
func TestWhatWaitsHoldsNothingOfItsRequest(t *testing.T) {
	for name, c := range map[string]request{
		"a poll":          {method: "GET", path: "/v1/attach?channel=a&wait=30"},
		"SSE":             {method: "GET", path: "/v1/attach?channel=a", headers: "Accept: text/event-stream"},
		"a hello":         {method: "POST", path: "/v1/attach"},
		"commands":        {method: "POST", path: "/v1/commands"},
		"a message":       poster("a", "text/plain", ""),
		"JSON":            poster("a", "application/json", ""),
		"NDJSON":          poster("a", "application/x-ndjson", ""),
		"for channels":    {method: "POST", path: "/v1/publish"},
		"what is revoked": {method: "POST", path: "/v1/revoke"},
	} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			coming, end := io.Pipe()
			junk := &[1]string{name}
			gone := weak.Make(junk)
			r := httptest.NewRequestWithContext(ctx, c.method, c.path, nil)
			if c.method == "POST" {
				r.Body, r.ContentLength = coming, 100
			}
			r.Header = c.header()
			r.Header["X-Junk"] = junk[:]
			done := make(chan struct{})
			go func() { // ends with the body, or ctx
				w.g.Handler().ServeHTTP(&recorder{header: http.Header{}}, r)
				close(done)
			}()
			synctest.Wait()
			select {
			case <-done:
				t.Errorf("%s: it does not wait", name)
			default:
			}
			if runtime.GC(); gone.Value() != nil {
				t.Errorf("%s: the header is still there", name)
			}
			cancel()
			_ = end.CloseWithError(io.ErrUnexpectedEOF)
			<-done
		})
	}
}

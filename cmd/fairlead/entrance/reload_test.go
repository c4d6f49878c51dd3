package entrance

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// ended is after what time from now the other side ends the connection.
func ended(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// ask sends a request, whose header has so many bytes more, and returns its
// answer, or why there is none.
func ask(t *testing.T, conn net.Conn, more int) (status int, text string, err error) {
	t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // who is refused is not read to the end
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", more)+"\r\n\r\n")
	})
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != 200 {
		_ = conn.Close()
	}
	return response.StatusCode, string(body), err
}

// wantAnswer checks that the connection is served.
func wantAnswer(t *testing.T, conn net.Conn, more int) (text string) {
	t.Helper()
	status, text, err := ask(t, conn, more)
	if status != 200 || err != nil {
		t.Errorf("got %d, %v", status, err)
	}
	return text
}

func TestReloadedLimitsOfRequestsHoldForNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide := Options{Header: 64 << 10, HeaderWait: time.Minute, Idle: time.Hour}
		e, in := piped(t, wide)
		serving(t, e, whence)
		old := in.dial()
		wantAnswer(t, old, 0)
		for _, o := range []Options{
			{Header: 4 << 10, HeaderWait: time.Second, Idle: 10 * time.Second},
			{Header: 4 << 10, HeaderWait: 2 * time.Second, Idle: 10 * time.Second},
			{Header: 4 << 10, HeaderWait: 2 * time.Second, Idle: 20 * time.Second},
			{Header: 64 << 10, HeaderWait: 2 * time.Second, Idle: 20 * time.Second},
		} {
			e.Reload(o)
			if got := ended(t, in.dial()); got != o.HeaderWait {
				t.Errorf("%+v: a header that does not come is waited for %s", o, got)
			}
			conn := in.dial()
			wantAnswer(t, conn, 0)
			if got := ended(t, conn); got != o.Idle {
				t.Errorf("%+v: a next request is waited for %s", o, got)
			}
			large := in.dial()
			if status, _, err := ask(t, large, 20<<10); err != nil || (status == 200) != (o.Header > 20<<10) {
				t.Errorf("%+v: a large header is answered %d, %v", o, status, err)
			}
			_ = large.Close()
			wantAnswer(t, old, 20<<10)
		}
		if got := ended(t, old); got != wide.Idle {
			t.Errorf("the connection from before is ended after %s, want %s", got, wide.Idle)
		}
	})
}

func TestAReloadThatChangesNothingAboutRequestsCostsNoServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, in := piped(t, Options{})
		e.Reload(Options{Idle: time.Hour}) // before it serves
		serving(t, e, whence)
		conn := in.dial()
		defer conn.Close()
		for range 5 {
			e.Reload(Options{Idle: time.Hour})
			e.Reload(Options{Idle: time.Hour, Header: 32 << 10, Connections: 7, ConnectionsPerIP: 7, TrustedProxies: []netip.Prefix{{}}})
			synctest.Wait()
		}
		wantAnswer(t, conn, 0)
		if n := len(e.servers); n != 1 {
			t.Errorf("there are %d servers", n)
		}
		if o := e.options.Load(); o.Idle != time.Hour || o.Connections != 7 {
			t.Errorf("in force is %+v", o)
		}
	})
}

// TestAShutdownWaitsForTheConnectionsOfAllServers has one from before each
// reload that is being answered, and one that is not.
func TestAShutdownWaitsForTheConnectionsOfAllServers(t *testing.T) {
	for name, patient := range map[string]bool{"until they are answered": true, "until it has no more time": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, in := piped(t, Options{Idle: time.Hour})
				answer := make(chan struct{})
				stop := serving(t, e, func(w http.ResponseWriter, r *http.Request) {
					if n, _ := io.Copy(io.Discard, r.Body); n == 0 {
						return
					}
					select {
					case <-answer:
					case <-r.Context().Done():
					}
				})
				var idle, busy []net.Conn
				for i := range 4 {
					e.Reload(Options{Idle: time.Hour + time.Duration(i)*time.Minute})
					conns := [2]net.Conn{in.dial(), in.dial()}
					wantAnswer(t, conns[0], 0)
					_, _ = io.WriteString(conns[1], "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
					synctest.Wait() // until the handler has it
					idle, busy = append(idle, conns[0]), append(busy, conns[1])
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				stopped := make(chan []error)
				go func() { stopped <- stop(ctx) }()
				for _, conn := range idle {
					if got := ended(t, conn); got > time.Second {
						t.Errorf("a connection that waits for nothing ends after %s", got)
					}
				}
				if patient {
					close(answer)
				}
				for i, conn := range busy {
					response, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if patient && (err != nil || response.StatusCode != 200) || !patient && err == nil {
						t.Errorf("request %d: got %v, %v", i, response, err)
					}
				}
				if errs := <-stopped; errs[0] != nil || errs[1] != nil || !patient != (ctx.Err() != nil) {
					t.Errorf("got %v, and ctx has %v", errs, ctx.Err())
				}
			})
		})
	}
}

// TestNobodyIsTurnedAwayAmidReloads connects again and again while the limits change.
func TestNobodyIsTurnedAwayAmidReloads(t *testing.T) {
	e := open(t, Options{}, whence)
	done := make(chan struct{})
	var reloads, clients sync.WaitGroup
	reloads.Go(func() {
		for i := time.Duration(0); ; i++ {
			select {
			case <-done:
				return
			default:
				e.Reload(Options{Idle: time.Hour + i})
			}
		}
	})
	for range 4 {
		clients.Go(func() {
			for range 100 {
				conn, err := net.Dial("tcp", e.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				wantAnswer(t, conn, 0)
				_ = conn.Close()
			}
		})
	}
	clients.Wait()
	close(done)
	reloads.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.servers) < 2 {
		t.Error("there was no reload amid them")
	}
}

// TestTheConnectionAfterAReloadMeetsItsLimits connects at once: the server of before may be about to take one more.
func TestTheConnectionAfterAReloadMeetsItsLimits(t *testing.T) {
	e := open(t, Options{}, whence)
	for i := range 300 {
		o, want := Options{Header: 64 << 10}, 200
		if i%2 == 0 {
			o.Header, want = 4<<10, 431
		}
		e.Reload(o)
		if status, _, err := ask(t, connect(t, e), 20<<10); status != want || err != nil {
			t.Fatalf("connection %d met the limits of before: got %d, %v; want %d", i, status, err, want)
		}
	}
}

// TestAStreamAndASessionOfTLSGoOnOverAReload also resumes the session with the next server.
func TestAStreamAndASessionOfTLSGoOnOverAReload(t *testing.T) {
	a := certtest.New(t)
	cert, key := a.Files()
	o := Options{Cert: cert, Key: key}
	lines := make(chan string)
	e := open(t, o, func(w http.ResponseWriter, r *http.Request) {
		for line := "first\n"; line != ""; line = <-lines {
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		}
	})
	defer close(lines)
	sessions := tls.NewLRUClientSessionCache(8)
	stream := func(h2 bool) (response *http.Response, hears func(string)) {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool, ClientSessionCache: sessions}, ForceAttemptHTTP2: h2}
		t.Cleanup(transport.CloseIdleConnections)
		response, err := (&http.Client{Transport: transport}).Get("https://" + e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		read := bufio.NewReader(response.Body)
		hears = func(want string) {
			t.Helper()
			if got, err := read.ReadString('\n'); got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
		hears("first\n")
		return response, hears
	}
	first, hears := stream(true)
	o.Idle = time.Hour
	e.Reload(o)
	lines <- "second\n"
	hears("second\n")
	if first.ProtoMajor != 2 || first.TLS.DidResume {
		t.Errorf("got %s, resumed: %t", first.Proto, first.TLS.DidResume)
	}
	if second, _ := stream(true); second.ProtoMajor != 2 || !second.TLS.DidResume {
		t.Errorf("after the reload: got %s, resumed: %t", second.Proto, second.TLS.DidResume)
	}
	if third, _ := stream(false); third.ProtoMajor != 1 {
		t.Errorf("after the reload: got %s", third.Proto)
	}
}

// connect connects to the entrance for a while.
func connect(t *testing.T, e *Entrance) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // whatever goes wrong
	return conn
}

func TestTrustedProxiesAreReloadedWithThePROXYProtocol(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	e := open(t, Options{ProxyProtocol: true}, whence)
	const header = "PROXY TCP4 192.0.2.7 203.0.113.1 1000 443\r\n"
	proxied := func() (from string, err error) {
		t.Helper()
		conn := connect(t, e)
		_, _ = io.WriteString(conn, header)
		_, from, err = ask(t, conn, 0)
		return from, err
	}
	old := connect(t, e)
	before := wantAnswer(t, old, 0)
	if from, err := proxied(); err == nil && strings.HasPrefix(from, "192.0.2.7") {
		t.Error("somebody who is not trusted is believed")
	}
	e.Reload(Options{TrustedProxies: home, HeaderWait: 100 * time.Millisecond})
	if from, err := proxied(); err != nil || from != "192.0.2.7:1000" {
		t.Errorf("got %q, %v", from, err)
	}
	if status, _, err := ask(t, connect(t, e), 0); err == nil && status == 200 {
		t.Error("a trusted proxy needs no header")
	}
	ended(t, connect(t, e)) // which says nothing
	if from := wantAnswer(t, old, 0); from != before {
		t.Errorf("a connection from before is of %q now, and was of %q", from, before)
	}
	e.Reload(Options{})
	wantAnswer(t, connect(t, e), 0)
}

func TestLimitsOfConnectionsAreReloaded(t *testing.T) {
	e := open(t, Options{Connections: 2}, whence)
	served := func() bool {
		t.Helper()
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			return false // it was closed before it was made
		}
		t.Cleanup(func() { _ = conn.Close() })
		status, _, _ := ask(t, conn, 0)
		return status == 200
	}
	first := connect(t, e)
	wantAnswer(t, first, 0)
	if !served() || served() {
		t.Error("want two connections served")
	}
	e.Reload(Options{Connections: 3})
	if !served() || served() {
		t.Error("want a third one, and no fourth")
	}
	e.Reload(Options{Connections: 1})
	if served() {
		t.Error("want no further one")
	}
	wantAnswer(t, first, 0)
	if n := e.connections.count(); n != 3 {
		t.Errorf("%d connections are there", n)
	}
}

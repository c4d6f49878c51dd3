package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// front serves the world's gateway over HTTP/1.1 and HTTP/2. leave drains it
// and shuts it down, as a program does that has so long for both, and returns
// how long that took.
func (w *world) front() (dial func() net.Conn, leave func(within time.Duration) (time.Duration, error)) {
	listener := newPipeListener()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: w.g.Handler(), Protocols: protocols}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	w.t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return listener.dial, func(within time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(w.t.Context(), within)
		defer cancel()
		began := time.Now()
		err := w.g.Drain(ctx)
		if err == nil {
			err = server.Shutdown(ctx)
		}
		return time.Since(began), err
	}
}

// post is a client that sends one byte of a body, and reads.
func post(path string) func(*testing.T, net.Conn) *bytes.Buffer {
	return func(t *testing.T, conn net.Conn) *bytes.Buffer {
		got := new(bytes.Buffer)
		go func() { _, _ = io.Copy(got, conn) }() // ends with the connection
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: fairlead\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			t.Error(err)
		}
		return got
	}
}

// get is a client that takes the first byte of an answer, if one, and no more.
func get(path, headers string, one bool) func(*testing.T, net.Conn) *bytes.Buffer {
	return func(t *testing.T, conn net.Conn) *bytes.Buffer {
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: fairlead\r\n"+headers+"\r\n"); err != nil {
			t.Error(err)
		}
		if one {
			_, _ = conn.Read(make([]byte, 1))
		}
		return nil
	}
}

// upgraded is a client that opens a WebSocket, and then does more.
func upgraded(then func(net.Conn, *bytes.Buffer)) func(*testing.T, net.Conn) *bytes.Buffer {
	return func(t *testing.T, conn net.Conn) *bytes.Buffer {
		get("/v1/attach", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fairlead.v1\r\n", false)(t, conn)
		shaken := make([]byte, 4<<10)
		if n, err := conn.Read(shaken); err != nil || !bytes.HasSuffix(shaken[:n], []byte("\r\n\r\n")) {
			t.Errorf("got %q, %v", shaken[:n], err)
		}
		got := new(bytes.Buffer)
		go then(conn, got) // ends with the connection
		return got
	}
}

// shut is a client of HTTP/2 whose window for answers is shut. Of an upload it sends one byte.
func shut(method, path, accept string) func(*testing.T, net.Conn) *bytes.Buffer {
	return func(t *testing.T, conn net.Conn) *bytes.Buffer {
		go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Error(err)
		}
		var block bytes.Buffer
		fields := hpack.NewEncoder(&block)
		for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "fairlead"}, {":path", path}, {"accept", accept}} {
			_ = fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		framer := http2.NewFramer(conn, nil)
		_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: method == "GET"})
		if err == nil && method == "POST" {
			err = framer.WriteData(1, false, []byte("{"))
		}
		if err != nil {
			t.Error(err)
		}
		return nil
	}
}

// Whatever one client does not send or take, it cannot make a drain take all the time that there is.
func TestADrainDoesNotWaitForWhoDoesNotFinish(t *testing.T) {
	const window, stall = 5 * time.Second, 5 * time.Second
	read := func(conn net.Conn, got *bytes.Buffer) { _, _ = io.Copy(got, conn) }
	sse := "Accept: text/event-stream\r\n"
	for name, c := range map[string]struct {
		client func(*testing.T, net.Conn) *bytes.Buffer
		most   time.Duration
		told   string
	}{
		"a body for /v1/attach":              {post("/v1/attach"), window, `"unavailable"`},
		"a body for /v1/commands":            {post("/v1/commands"), window, `"unavailable"`},
		"a body for a channel":               {post("/v1/channels/a/messages"), window, `"unavailable"`},
		"a body that nobody reads":           {post("/v1/nothing"), window, ""},
		"a body for a page":                  {post("/"), window, ""},
		"a body over HTTP/2":                 {shut("POST", "/v1/attach", "*/*"), window + stall, ""},
		"a body over HTTP/2 for nobody":      {shut("POST", "/v1/nothing", "*/*"), window, ""},
		"a header":                           {func(_ *testing.T, conn net.Conn) *bytes.Buffer { _, _ = io.WriteString(conn, "GET / HT"); return nil }, window, ""},
		"no hello":                           {upgraded(read), window + closeTimeout, `"unavailable"`},
		"no hello, and nothing is taken":     {upgraded(func(net.Conn, *bytes.Buffer) {}), window + closeTimeout, ""},
		"no hello, and no pong is taken":     {upgraded(func(conn net.Conn, _ *bytes.Buffer) { ping(conn) }), window + closeTimeout, ""},
		"a WebSocket that takes nothing":     {upgraded(func(conn net.Conn, _ *bytes.Buffer) { hello(conn) }), window, ""},
		"SSE of which nothing is taken":      {get("/v1/attach?channel=a", sse, false), window, ""},
		"SSE of which one byte is taken":     {get("/v1/attach?channel=a", sse, true), window, ""},
		"a poll of which nothing is taken":   {get("/v1/attach?channel=a&wait=30&session=s", "", false), window + stall + time.Second, ""},
		"a page of which one byte is taken":  {get("/v1/channels/a/messages", "", true), window, ""},
		"a file of which one byte is taken":  {get("/v1/client.js", "", true), window, ""},
		"SSE, the window is shut":            {shut("GET", "/v1/attach?channel=a", protocol.MediaSSE), window, ""},
		"NDJSON, the window is shut":         {shut("GET", "/v1/attach?channel=a", protocol.MediaStream), window, ""},
		"a poll, the window is shut":         {shut("GET", "/v1/attach?channel=a&wait=30&session=s", "*/*"), window + stall + time.Second, ""},
		"an answered poll, it is shut":       {shut("GET", "/v1/attach?channel=a&wait=0", "*/*"), window, ""},
		"a history page, the window is shut": {shut("GET", "/v1/channels/a/messages", "*/*"), window, ""},
		"the demo, the window is shut":       {shut("GET", "/", "*/*"), window, ""},
		"client.js, the window is shut":      {shut("GET", "/v1/client.js", "*/*"), window, ""},
		"metrics, the window is shut":        {shut("GET", "/metrics", "*/*"), window, ""},
		"a ping, the window is shut":         {shut("GET", "/v1/ping", "*/*"), window, ""},
	} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{DrainWindow: window}, broker.Options{})
			w.publish("a", "x")
			dial, leave := w.front()
			conn := dial()
			defer conn.Close()
			got := c.client(t, conn)
			synctest.Wait()
			took, err := leave(time.Minute)
			// http.Server looks every half second, lingers for as long where it closed, and for a second over HTTP/2.
			if err != nil || took < window || took > c.most+2*time.Second {
				t.Errorf("%s: it took %v with %v, want %v at most", name, took, err, c.most)
			}
			_ = conn.Close()
			synctest.Wait()
			if c.told != "" && !strings.Contains(got.String(), c.told) {
				t.Errorf("%s: the client was told %q, want %s", name, got, c.told)
			}
		})
	}
}

// ping pings for as long as the connection takes it.
func ping(conn net.Conn) {
	for ws.WriteFrame(conn, ws.MaskFrame(ws.NewPingFrame(nil))) == nil {
	}
}

// hello attaches, and reads nothing.
func hello(conn net.Conn) {
	_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"hello","channels":{"a":{}}}`))))
}

// Who begins to take what is owed when the window has long been over, and takes
// a little at a time, gets all of it, and who sends what is there is answered.
func TestADrainCutsOffNobodyWhoGoesOn(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{DrainWindow: time.Millisecond}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		const messages = 20
		filler := strings.Repeat("x", 4<<10)
		for i := range messages {
			w.publish("a", fmt.Sprintf("%04d%s", i, filler))
		}
		time.Sleep(2 * DrainStall) // and nothing is taken
		_, leave := w.front()
		left := make(chan error, 1)
		go func() { // waited for below
			_, err := leave(10 * time.Minute)
			left <- err
		}()
		for i := range messages {
			time.Sleep(2 * time.Second)
			if f := l.want("message"); !strings.HasPrefix(string(f.Data), fmt.Sprintf(`"%04d`, i)) {
				t.Errorf("%s: message %d begins with %.10s", transport, i, f.Data)
			}
		}
		if a := w.call(poster("a", "text/plain", "y")); a.status != 201 {
			t.Errorf("a body that is here when the window is over is answered with %d %s", a.status, a.body)
		}
		began := time.Now()
		w.rawCall("POST /v1/attach HTTP/1.1\r\nHost: fairlead\r\nContent-Length: 100\r\n\r\n{").wantProblem(t, "a body of which only a part is here then", protocol.Unavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("it is waited for, for %v", took)
		}
		for l.next().Op != "goaway" {
		}
		if transport == protocol.WebSocket {
			l.wantClose(1012)
		} else if err := l.wantEnd(); !isEnd(err) {
			t.Errorf("%s: the end: got %v", transport, err)
		}
		if err := <-left; err != nil {
			t.Errorf("%s: %v", transport, err)
		}
	}, streams...)
}

// deadlines keeps the deadline for reading.
type deadlines struct {
	http.ResponseWriter
	read time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = at
	return nil
}

// What cuts bodies off when the window is over may come before the reader gives itself time.
func TestABodyThatIsReadAfterTheWindowIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.g.endWindow()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("x"))
		d := new(deadlines)
		control := http.NewResponseController(d)
		defer w.g.within(r, control)()
		synctest.Wait()
		_ = control.SetReadDeadline(time.Now().Add(time.Hour))
		if n, err := r.Body.Read(make([]byte, 1)); n != 1 || err != nil || d.read.After(time.Now()) {
			t.Errorf("got %d bytes, %v, and time until %v", n, err, d.read)
		}
	})
}

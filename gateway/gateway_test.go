package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/broker/brokertest"
	"github.com/fairlead/fairlead/protocol"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(natsDir); dir != "" {
		serveNATS(dir)
		return
	}
	ats.Register() // or the first bubble would own this process-wide goroutine
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// bubble runs f with fake time.
var bubble = brokertest.Bubble

// world is a gateway on a log of its own, and clients of it.
type world struct {
	t        testing.TB
	broker   *broker.Broker
	g        *Gateway
	listener *pipeListener // nil in the real world
	dial     func() net.Conn
	client   *http.Client
	logs     *logs
	key      string // an API key for metrics and history, if the gateway has keys
	settle   func() // waits until what is stored is in the tail, in a bubble
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func openBroker(t testing.TB, o broker.Options) *broker.Broker {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MaxAge == 0 {
		// nats-server's clock of ages is the real one, while a bubble lives in the year 2000.
		o.MaxAge = 100 * 365 * 24 * time.Hour
		o.Dedupe = 2 * time.Minute
	}
	o.DiskReserve = 1
	o.Logger = slog.New(slog.DiscardHandler)
	b, err := broker.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		brokertest.Settle()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return b
}

// newWorld starts a world whose connections are pipes. For use in a bubble.
func newWorld(t testing.TB, o Options, bo broker.Options) *world {
	t.Helper()
	// net/http lingers for half a second on a connection that it closes.
	t.Cleanup(func() { time.Sleep(time.Second) })
	listener := newPipeListener()
	w := serve(t, openBroker(t, bo), o, listener)
	w.useDial(listener.dial)
	w.listener, w.settle = listener, synctest.Wait
	return w
}

// newRealWorld starts a world on a free port of the loopback interface.
func newRealWorld(t testing.TB, o Options, bo broker.Options) *world {
	t.Helper()
	return serveLoopback(t, openBroker(t, bo), o)
}

func serveLoopback(t testing.TB, b *broker.Broker, o Options) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.DrainWindow == 0 {
		o.DrainWindow = time.Millisecond
	}
	w := serve(t, b, o, listener)
	w.useDial(func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	})
	return w
}

func serve(t testing.TB, b *broker.Broker, o Options, listener net.Listener) *world {
	t.Helper()
	w := &world{t: t, broker: b, logs: new(logs), settle: func() {}}
	o.Logger = slog.New(slog.NewTextHandler(w.logs, nil))
	var err error
	if w.g, err = New(b, o); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w.g.Handler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.g.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		_ = server.Close()
		wg.Wait()
	})
	return w
}

// useDial sets how clients connect. The client's connections end before the server does.
func (w *world) useDial(dial func() net.Conn) {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil }, DisableCompression: true}
	w.dial, w.client = dial, &http.Client{Transport: transport}
	w.t.Cleanup(transport.CloseIdleConnections)
}

// pipeListener accepts what dial connects.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn { return l.dialFrom(nil) }

// dialFrom is dial with an address; nil for that of a pipe, which is none.
func (l *pipeListener) dialFrom(addr net.Addr) net.Conn {
	near, far := net.Pipe()
	if addr != nil {
		far = addressed{far, addr}
	}
	select {
	case l.conns <- far:
	case <-l.closed:
		_ = near.Close()
	}
	return near
}

// addressed is a connection from that address.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// request is a request to the world. Its headers are written "Name: value", one a line.
type request struct {
	method, path, headers, body string
	stream                      io.Reader // a body that comes as it comes
}

func (r request) header() http.Header {
	h := http.Header{}
	for line := range strings.Lines(r.headers) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			h.Add(name, strings.TrimSpace(value))
		}
	}
	return h
}

// send sends a request and returns the response, whose body the test's end closes.
func (w *world) send(r request) *http.Response {
	w.t.Helper()
	response, err := w.trySend(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// trySend is send, but the caller closes the body.
func (w *world) trySend(r request) (*http.Response, error) {
	body := r.stream
	if body == nil {
		body = strings.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), r.method, "http://fairlead"+r.path, body)
	if err != nil {
		return nil, err
	}
	req.Header = r.header()
	return w.client.Do(req)
}

// answer is a whole response, parsed as far as tests need it.
type answer struct {
	status int
	header http.Header
	body   string
	frame  // the fields of its JSON

	Detail, Title string
	Status        int
	Stored        int
	Ticket        string
	Before        int64
	Replies       []frame
	Frames        []json.RawMessage
	IDs           []struct {
		ID        string
		Duplicate bool
	} `json:"ids"`
}

func (w *world) call(r request) answer {
	w.t.Helper()
	response, err := w.trySend(r) // no Cleanup, which would keep every answer that there was
	if err != nil {
		w.t.Fatal(err)
	}
	if r.method != http.MethodGet {
		w.settle()
	}
	return answerOf(w.t, response)
}

func answerOf(t testing.TB, response *http.Response) answer {
	t.Helper()
	ends := time.AfterFunc(time.Hour, func() { _ = response.Body.Close() }) // of what should have been an answer, and is a stream
	body, err := io.ReadAll(response.Body)
	ends.Stop()
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", response.Request.Method, response.Request.URL, err)
	}
	_ = response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatalf("answer %q: %v", body, err)
		}
		for i := range a.Messages {
			a.Messages[i].raw = nil
		}
	}
	return a
}

// wantProblem checks that the answer is a problem with that code (PROTOCOL.md 2.3).
func (a answer) wantProblem(t testing.TB, what string, code protocol.Code) {
	t.Helper()
	if a.status != code.HTTPStatus() || a.Code != string(code) || a.Status != a.status || a.Detail == "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d %s %s, want a problem with the code %s", what, a.status, a.header.Get("Content-Type"), a.body, code)
	}
	challenge, refusal := a.header.Get("WWW-Authenticate"), a.status == 401 || a.status == 403
	if refusal != strings.HasPrefix(challenge, `Bearer realm="fairlead"`) {
		t.Errorf("%s: got %d with WWW-Authenticate %q", what, a.status, challenge)
	}
}

// publish stores messages by the broker itself and returns the last one's id.
func (w *world) publish(channel string, payloads ...any) (id string) {
	w.t.Helper()
	for _, payload := range payloads {
		receipt, err := w.broker.Publish(w.t.Context(), broker.Publication{Channel: channel, Payload: fmt.Append(nil, payload)})
		if err != nil {
			w.t.Fatal(err)
		}
		id = receipt.ID.String()
	}
	w.settle()
	return id
}

// history is a channel's messages, each as its data.
func (w *world) history(channel string) []string {
	w.t.Helper()
	var got []string
	for _, m := range w.call(w.keyed(request{method: "GET", path: "/v1/channels/" + channel + "/messages?limit=1000"})).Messages {
		got = append(got, string(m.Data))
	}
	return got
}

// keyed is a request with the world's API key, if it has one.
func (w *world) keyed(r request) request {
	if w.key != "" {
		r.headers += "\nAuthorization: Bearer " + w.key
	}
	return r
}

// poster is a request to publish to a channel.
func poster(channel, media, body string) request {
	return request{method: "POST", path: "/v1/channels/" + channel + "/messages", headers: "Content-Type: " + media, body: body}
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, " | "), strings.Join(want, " | "); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// isEnd tells whether an error is how a peer's going looks like.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

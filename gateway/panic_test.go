package gateway

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// trap is a connection whose reading or writing panics when marker comes by.
type trap struct {
	net.Conn

	marker string
	value  any
}

func (c *trap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte(c.marker+" in")) {
		panic(c.value)
	}
	return n, err
}

func (c *trap) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.marker+" out")) {
		panic(c.value)
	}
	return c.Conn.Write(p)
}

// A panic ends the connection that it is in, whoever's goroutine it is, and
// operators are told of it, but not of what the client has sent.
func TestAPanicEndsItsWebSocketOnly(t *testing.T) {
	const secret = "s3cret"
	for name, c := range map[string]struct {
		value   any
		hello   string
		attack  func(w *world, l *link)
		told    bool
		instead string
	}{
		"reading a hello":   {"got " + secret, ``, func(_ *world, l *link) { l.sendUnmasked(`{"x":"trap in"}`) }, false, "a string"},
		"reading a command": {"got " + secret, aHello, func(_ *world, l *link) { l.sendUnmasked(`{"x":"trap in"}`) }, true, "a string"},
		"writing a message": {"got " + secret, `{"channels":{"t":{}}}`, func(w *world, _ *link) { w.publish("t", `"trap out"`) }, false, "a string"},
		"the runtime's":     {aRuntimeError(), `{"channels":{"t":{}}}`, func(w *world, _ *link) { w.publish("t", `"trap out"`) }, false, "index out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				healthy := w.attach(protocol.SSE, aHello)
				defer healthy.hangUp()
				healthy.withstands(func() {
					near, far := net.Pipe()
					w.listener.conns <- &trap{far, "trap", c.value}
					l := w.handshake(near, "/v1/attach", "")
					if c.hello != "" {
						l.sendText(strings.Replace(c.hello, "{", `{"op":"hello",`, 1))
						l.want("welcome")
						l.want("proof")
					}
					c.attack(w, l)
					if c.told {
						if f := l.want("error"); f.Code != "internal" {
							t.Errorf("got %s", f.raw)
						}
						l.wantClose(protocol.Internal.CloseCode())
					} else if err := l.wantEnd(); !isEnd(err) {
						t.Errorf("got %v", err)
					}
					l.hangUp()
					w.settle()
				})
				w.wantToldOfPanic(c.instead, "panic_test.go", secret)
			})
		})
	}
}

// sendUnmasked sends a text frame whose mask is zero, so that its text is to be seen on its way.
func (l *link) sendUnmasked(text string) {
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	_, _ = l.conn.Write(frame)
}

func aRuntimeError() (err any) {
	defer func() { err = recover() }()
	return make([]int, 0)[len("x")]
}

// wantToldOfPanic checks that one panic was counted and logged at error, with the text and the stack, and without the secret.
func (w *world) wantToldOfPanic(text, place, secret string) {
	w.t.Helper()
	if n := w.metrics()["fairlead_panics_total"]; n != 1 {
		w.t.Errorf("%v panics are counted", n)
	}
	logged := w.logs.String()
	if !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, text) || !strings.Contains(logged, place) || strings.Contains(logged, secret) {
		w.t.Errorf("logged is %s", logged)
	}
}

// writerTrap panics when it is written to.
type writerTrap struct {
	http.ResponseWriter

	value any
}

func (w writerTrap) WriteHeader(int) { panic(w.value) }

func TestAPanicEndsItsRequestOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		ask := func(value any) (got any) {
			defer func() { got = recover() }()
			w.g.Handler().ServeHTTP(writerTrap{httptest.NewRecorder(), value}, httptest.NewRequest("GET", "/v1/ping", nil))
			return nil
		}
		if got := ask(http.ErrAbortHandler); got != http.ErrAbortHandler || w.logs.String() != "" {
			t.Errorf("got %v, and logged is %s", got, w.logs)
		}
		if got := ask("got s3cret"); got != http.ErrAbortHandler {
			t.Errorf("net/http gets %v, want its own value, which it does not log", got)
		}
		w.wantToldOfPanic("a string", "panic_test.go", "s3cret")
		if a := w.call(poster("a", "text/plain", "x")); a.status != 201 {
			t.Errorf("afterwards: got %d %s", a.status, a.body)
		}
	})
}

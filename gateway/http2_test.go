package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// In Go a deadline ends a stream of HTTP/2, also one that has nothing to read or
// to write just then.

// overHTTP2 has the world's client speak HTTP/2 to another server of the same gateway.
func (w *world) overHTTP2() { w.overHTTP2With(nil) }

// overHTTP2With is overHTTP2 with the client's settings.
func (w *world) overHTTP2With(settings *http.HTTP2Config) {
	w.t.Helper()
	listener := newPipeListener()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: w.g.Handler(), Protocols: protocols}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	transport := &http.Transport{Protocols: protocols, HTTP2: settings, DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil }}
	w.client = &http.Client{Transport: transport}
	w.t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
		transport.CloseIdleConnections()
	})
}

func TestAStreamOverHTTP2OutlivesItsWrites(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{WriteStall: time.Second}}, broker.Options{})
		w.overHTTP2()
		l := w.attach(transport, `{"wait":30,"channels":{"a":{}}}`)
		defer l.hangUp()
		for i := range 3 {
			var stored sync.WaitGroup
			stored.Go(func() {
				time.Sleep(20 * time.Second) // with a beat on the way
				w.store("a", i)
			})
			equal(t, "after 20 s", l.collect(1), []string{fmt.Sprint(i)})
			stored.Wait() // its acknowledgement may come behind the message
		}
	}, protocol.SSE, protocol.Stream, protocol.Poll)
}

func TestAnUploadOverHTTP2LastsAsOneOverHTTP1(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		feed   func(to io.Writer)
	}{
		"for longer than an answer may take": {Limits{WriteStall: time.Second}, func(to io.Writer) {
			for i := range 8 {
				_, _ = fmt.Fprintf(to, "{\"data\":%d}\n", i)
				time.Sleep(5 * time.Second)
			}
		}},
		"more slowly read than it comes": {Limits{BodyStall: time.Second, Publishes: 1}, func(to io.Writer) {
			_, _ = io.WriteString(to, strings.Repeat("{\"data\":1}\n", 6))
			time.Sleep(3 * time.Second)
			_, _ = io.WriteString(to, strings.Repeat("{\"data\":1}\n", 2))
		}},
	} {
		for _, two := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{Limits: c.limits}, broker.Options{})
				if two {
					w.overHTTP2()
				}
				body, to := io.Pipe()
				go func() {
					c.feed(to)
					_ = to.Close()
				}()
				r := poster("a", "application/x-ndjson", "")
				r.stream = body
				if a := w.call(r); a.status != 201 || a.Stored != 8 {
					t.Errorf("%s, over HTTP/2 %v: got %d %s", name, two, a.status, a.body)
				}
			})
		}
	}
}

// What is sent slowly is answered all the same.
func TestABodyOverHTTP2MayTakeLongerThanAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{WriteStall: time.Second}}, broker.Options{})
		w.overHTTP2()
		body, to := io.Pipe()
		go func() {
			for part := range bytes.SplitAfterSeq([]byte(`[{"data":1},{"data":2},{"data":3}]`), []byte(",")) {
				time.Sleep(time.Second)
				_, _ = to.Write(part)
			}
			_ = to.Close()
		}()
		r := poster("a", "application/json", "")
		r.stream = body
		if a := w.call(r); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

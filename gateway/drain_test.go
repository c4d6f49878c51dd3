package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// drainMeanwhile drains in the background; the returned function waits for it.
func (w *world) drainMeanwhile(ctx context.Context) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- w.g.Drain(ctx) }() // waited for by wait
	return func() error { return <-done }
}

func TestADrainTurnsAwayAtOnceWhoComes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		if a := w.send(request{method: "GET", path: "/readyz"}); a.StatusCode != 200 {
			t.Errorf("before: readyz says %s", a.Status)
		}
		early := w.dialWebSocket("/v1/attach") // and says no hello yet
		l := w.attach(protocol.SSE, `{"channels":{"a":{}}}`)
		wait := w.drainMeanwhile(t.Context())
		synctest.Wait()
		for _, path := range []string{"/readyz", "/v1/attach?channel=a&wait=0"} {
			a := w.call(request{method: "GET", path: path})
			a.wantProblem(t, path, protocol.Unavailable)
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", path)
			}
		}
		for _, headers := range []string{"Accept: text/event-stream", "Accept: application/x-ndjson", "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: fairlead.v1"} {
			w.call(request{method: "GET", path: "/v1/attach?channel=a", headers: headers}).wantProblem(t, headers, protocol.Unavailable)
		}
		early.sendText(`{"op":"hello","channels":{"a":{}}}`)
		if f := early.want("error"); f.Code != "unavailable" {
			t.Errorf("who says hello too late: got %s", f.raw)
		}
		early.wantClose(1013)
		// What needs no attachment goes on.
		if a := w.call(poster("a", "text/plain", "x")); a.status != 201 {
			t.Errorf("publish: got %d", a.status)
		}
		for l.next().Op != "goaway" {
		}
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

// A refusal is told before the upgrade, where a client or a balancer can read when to come back.
func TestAHandshakeThatADrainRefusesSaysWhenToComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		if err := w.g.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := w.call(request{method: "GET", path: "/v1/attach", headers: "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: fairlead.v1"})
		a.wantProblem(t, "the handshake", protocol.Unavailable)
		if a.header.Get("Retry-After") != "1" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %v, want Retry-After and no-store", a.header)
		}
	})
}

// DESIGN.md 6. A WebSocket is closed with 1012 (PROTOCOL.md 3.1).
func TestADrainGivesEveryAttachmentItsMessagesItsPlaceAndAGoaway(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		var want []string
		id := ""
		for range 50 { // more than is written at a time
			id = w.publish("a", strings.Repeat("x", 2000))
			want = append(want, "message")
		}
		wait := w.drainMeanwhile(t.Context())
		synctest.Wait()
		var got []string
		for {
			f := l.next()
			got = append(got, f.Op)
			if f.Op == "beat" && f.ID != id {
				t.Errorf("the place is %s, want %s", f.ID, id)
			}
			if f.Op == "goaway" {
				if f.Reason != "drain" || f.AfterMS < 0 || f.AfterMS >= 1000 {
					t.Errorf("got %s", f.raw)
				}
				break
			}
		}
		equal(t, "before the end", got, append(want, "beat", "goaway"))
		if transport == protocol.WebSocket {
			l.wantClose(1012)
		} else if err := l.wantEnd(); !isEnd(err) {
			t.Errorf("the end: got %v", err)
		}
		if err := wait(); err != nil {
			t.Error(err)
		}
	}, streams...)
}

func TestADrainIsSpreadOverItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const clients = 100
		w := newWorld(t, Options{DrainWindow: 10 * time.Second}, broker.Options{})
		var mu sync.Mutex
		var ends []time.Duration // guarded by mu
		var polls []time.Duration
		var wg sync.WaitGroup
		var began time.Time
		for i := range clients {
			if i%4 == 3 {
				wg.Go(func() {
					a := w.call(request{method: "GET", path: "/v1/attach?session=s&wait=50&channel=a"})
					mu.Lock()
					defer mu.Unlock()
					polls = append(polls, time.Since(began))
					if a.status != 200 || len(a.Frames) != 1 || !strings.Contains(string(a.Frames[0]), `"op":"goaway"`) {
						t.Errorf("a poll was answered %d %s", a.status, a.body)
					}
				})
				continue
			}
			l := w.attach(streams[i%4], `{"channels":{"a":{}}}`)
			wg.Go(func() {
				for l.next().Op != "goaway" {
				}
				mu.Lock()
				ends = append(ends, time.Since(began))
				mu.Unlock()
				if err := l.wantEnd(); l.conn != nil {
					l.hangUp()
				} else if !isEnd(err) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began = time.Now()
		if err := w.g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		wg.Wait()
		at := map[time.Duration]int{}
		for _, end := range ends {
			at[end]++
		}
		if len(ends) != 75 || len(polls) != 25 {
			t.Fatalf("%d ends and %d polls", len(ends), len(polls))
		}
		for end, n := range at {
			if n > 2 || end > 10*time.Second {
				t.Errorf("%d were told to go after %v", n, end)
			}
		}
		if last := ends[len(ends)-1]; last < 9*time.Second || took > 13*time.Second {
			t.Errorf("the last was told to go after %v, and the drain took %v", last, took)
		}
	})
}

func TestADrainEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		stuck := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
		w.publish("a", strings.Repeat("x", 1000)) // which nobody reads
		cause := errors.New("no more time")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, cause)
		defer cancel()
		began := time.Now()
		if err := w.g.Drain(ctx); !errors.Is(err, cause) || time.Since(began) != 3*time.Second {
			t.Errorf("got %v after %v, want %v after 3s", err, time.Since(began), cause)
		}
		stuck.hangUp()
	})
}

// An attachment that is made at the moment when a drain begins is refused, or told to go.
func TestADrainMissesNobody(t *testing.T) {
	for round := range 30 {
		w := newRealWorld(t, Options{}, broker.Options{TailBytes: 1 << 10})
		var wg sync.WaitGroup
		some := make(chan struct{}, 200)
		for i := range 4 {
			wg.Go(func() {
				for range 50 {
					media := []string{protocol.MediaSSE, protocol.MediaStream}[i%2]
					response, err := w.trySend(request{method: "GET", path: "/v1/attach?channel=a", headers: "Accept: " + media})
					if err != nil || response.StatusCode == 503 {
						return
					}
					if i < 2 {
						_ = response.Body.Close()
					}
					some <- struct{}{}
				}
			})
		}
		for range 3 + round%7 {
			<-some
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := w.g.Drain(ctx); err != nil {
			t.Fatal(fmt.Errorf("drain: %w", err))
		}
		cancel()
		wg.Wait()
	}
}

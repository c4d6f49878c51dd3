package gateway

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// The end of a grant (PROTOCOL.md 2.5).

const (
	lifetime = 20 * time.Second
	grace    = 7 * time.Second
)

// short attaches by a token that is good for lifetime.
func (g *guarded) short(t protocol.Transport) *link {
	g.t.Helper()
	return g.attach(t, helloAs(g.tokenFor("ann", chat, lifetime), `"session":"s","beat":5000,"channels":{"chat.1":{}}`))
}

// wantExpired checks that the attachment ends with expired now, and not before, as its transport does.
func (l *link) wantExpired(at time.Time) {
	l.w.t.Helper()
	if f := l.want("error"); f.Code != "expired" || f.Message == "" || !time.Now().Equal(at) {
		l.w.t.Errorf("got %s at %s, want it at %s", f.raw, time.Now(), at)
	}
	if l.transport == protocol.WebSocket {
		l.wantClose(4419)
	} else if err := l.wantEnd(); !isEnd(err) {
		l.w.t.Errorf("the end: got %v", err)
	}
}

func TestAnAttachmentEndsAGraceAfterItsGrant(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		l, began := w.short(transport), time.Now()
		if l.welcome.ExpiresIn != lifetime.Milliseconds() {
			t.Errorf("got %s", l.welcome.raw)
		}
		time.Sleep(lifetime + grace - time.Nanosecond)
		w.publish("chat.1", 1)
		equal(t, "a moment before", l.collect(1), []string{"1"})
		l.wantExpired(began.Add(lifetime + grace))
		w.settle()
		if n := len(w.g.all()); n != 0 {
			t.Errorf("%d attachments are there", n)
		}
		w.bearing(w.token("ann", chat)).commands(l, `{"op":"bye"}`)[0].wantError(t, "afterwards", protocol.Gone)
	}, streams...)
}

func TestTheGraceIsTenSecondsUnlessItIsSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		l, began := w.short(protocol.SSE), time.Now()
		l.wantExpired(began.Add(lifetime + 10*time.Second))
	})
}

// The clocks may differ by the skew: the end is put off by that.
func TestTheSkewPutsTheEndOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{Grace: grace}, func(a *auth.Options) { a.Skew = 3 * time.Second })
		l, began := w.short(protocol.Stream), time.Now()
		if l.welcome.ExpiresIn != (lifetime + 3*time.Second).Milliseconds() {
			t.Errorf("got %s", l.welcome.raw)
		}
		l.wantExpired(began.Add(lifetime + 3*time.Second + grace))
	})
}

func TestCommandsAreRefusedFromTheEndOfTheGrantOn(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		l := w.short(transport)
		defer l.hangUp()
		commands := []string{`{"op":"subscribe","channel":"chat.2"}`, `{"op":"unsubscribe","channel":"chat.3"}`, `{"op":"beat"}`}
		if transport == protocol.WebSocket {
			commands = append(commands, `{"op":"publish","channel":"chat.1","data":1}`, `{"op":"history","channel":"chat.1"}`, `{"op":"ping"}`)
		}
		l.w = w.bearing(w.tokenFor("ann", chat, time.Hour)) // a request with another token: the attachment has the one that it has
		each := func(check func(command string, reply frame)) {
			for _, c := range commands {
				check(c, l.replyTo(strings.Replace(c, "{", `{"cid":1,`, 1)))
				w.settle()
			}
		}
		time.Sleep(lifetime - time.Nanosecond)
		each(func(c string, f frame) {
			if !f.OK {
				t.Errorf("%s, a moment before: got %+v", c, f)
			}
		})
		stored := w.broker.Head()
		time.Sleep(time.Nanosecond)
		each(func(c string, f frame) { f.wantError(t, c, protocol.Expired) })
		time.Sleep(grace - time.Second)
		each(func(c string, f frame) { f.wantError(t, c+", later", protocol.Expired) })
		if now := w.broker.Head(); now != stored {
			t.Errorf("something was stored: the log was at %s and is at %s", stored, now)
		}
		if f := l.replyTo(`{"op":"bye","cid":1}`); !f.OK {
			t.Errorf("bye: got %+v", f)
		}
	}, streams...)
}

// replyTo is command where anything may come before the reply.
func (l *link) replyTo(command string) frame {
	l.w.t.Helper()
	if l.transport != protocol.WebSocket {
		return l.w.commands(l, command)[0]
	}
	l.sendText(command)
	for {
		if f := l.next(); f.Op == "reply" {
			return f
		}
	}
}

func TestARequestIsRefusedFromTheEndOfItsTokenOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Grace: time.Hour})
		token := w.tokenFor("ann", chat, lifetime)
		time.Sleep(lifetime - time.Nanosecond)
		requests := []request{poster("chat.1", "text/plain", "x"), commanding(`{"op":"ping"}`), {method: "GET", path: "/v1/attach?channel=chat.1&wait=0&session=s"}, {method: "POST", path: "/v1/tickets"}}
		for _, r := range requests {
			if a := w.call(w.as(token, r)); a.status >= 300 {
				t.Errorf("a moment before: got %d %s", a.status, a.body)
			}
		}
		time.Sleep(time.Nanosecond)
		for _, r := range requests {
			w.call(w.as(token, r)).wantProblem(t, r.path, protocol.Expired)
		}
		for _, transport := range protocol.Transports() {
			w.begin(transport, attaching(helloAs(token, `"channels":{"chat.1":{}}`))).wantCode(t, string(transport), protocol.Expired)
		}
	})
}

func TestARefreshInTheGraceSavesTheAttachment(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		l, began := w.short(transport), time.Now()
		time.Sleep(lifetime + grace - time.Nanosecond)
		w.mustRenew(l, w.tokenFor("ann", chat, time.Minute))
		over := time.Now().Truncate(time.Second).Add(time.Minute + grace)
		time.Sleep(time.Nanosecond)
		w.publish("chat.1", 1)
		equal(t, "when it would have ended", l.collect(1), []string{"1"})
		l.w = w.bearing(w.token("ann", chat))
		if f := l.replyTo(`{"op":"beat","cid":1}`); !f.OK {
			t.Errorf("a command: got %+v", f)
		}
		l.wantExpired(over)
		if took := time.Since(began); took < lifetime+time.Minute {
			t.Errorf("it ended after %v", took)
		}
	}, streams...)
}

// A refresh may bring the end nearer.
func TestARefreshWithASoonerEndEndsSooner(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		l, began := w.attach(transport, helloAs(w.token("ann", chat), `"session":"s","beat":60000,"channels":{"chat.1":{}}`)), time.Now()
		l.want("proof")
		time.Sleep(time.Second - proofDelay)
		w.mustRenew(l, w.tokenFor("ann", chat, lifetime))
		l.wantExpired(began.Add(time.Second + lifetime + grace))
	}, streams...)
}

func TestAPollThatWaitsEndsAGraceAfterItsGrant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Grace: grace})
		hello := attaching(helloAs(w.tokenFor("ann", chat, lifetime), `"session":"s","wait":50,"channels":{"chat.1":{}}`))
		began := time.Now()
		a := w.call(hello)
		if took := time.Since(began); a.status != 200 || len(a.Frames) != 0 || a.ID == "" || took != lifetime+grace {
			t.Errorf("got %d %s after %v", a.status, a.body, took)
		}
		w.call(hello).wantProblem(t, "the next poll", protocol.Expired)
	})
}

func TestAPollIsServedInTheGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Grace: grace})
		time.AfterFunc(lifetime+grace-time.Second, func() { w.store("chat.1", 1) })
		a := w.call(attaching(helloAs(w.tokenFor("ann", chat, lifetime), `"session":"s","wait":50,"channels":{"chat.1":{}}`)))
		if a.status != 200 || len(a.Frames) != 1 {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

// What was complete before the end is stored, and nothing after it.
func TestAnIngestEndsWithItsGrant(t *testing.T) {
	for media, format := range map[string]string{protocol.MediaSSE: "data: %d\n\n", protocol.MediaStream: "{\"data\":%d}\n"} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Grace: time.Hour})
			r := w.as(w.tokenFor("ann", chat, lifetime), poster("chat.1", media, ""))
			a := w.drip(r, 30, time.Second, func(i int) string { return fmt.Sprintf(format, i) })
			a.wantProblem(t, media, protocol.Expired)
			if a.Stored != 20 || a.ID == "" {
				t.Errorf("got %s", a.body)
			}
			if n := len(w.history("chat.1")); n != 20 {
				t.Errorf("%d messages are stored, want 20", n)
			}
		})
	}
}

// A body that is read as a whole counts when it is there.
func TestABodyThatComesAfterTheEndOfItsGrantIsNotStored(t *testing.T) {
	for what, c := range map[string]struct {
		r     request
		parts [2]string
	}{
		"raw":      {poster("chat.1", "text/plain", ""), [2]string{"x", "y"}},
		"JSON":     {poster("chat.1", "application/json", ""), [2]string{`{"data":`, "1}"}},
		"an array": {poster("chat.1", "application/json", ""), [2]string{`[{"data":1},`, `{"data":2}]`}},
		"fan-out":  {request{method: "POST", path: "/v1/publish"}, [2]string{`{"channels":["chat.1"],`, `"data":1}`}},
		"commands": {request{method: "POST", path: "/v1/commands"}, [2]string{`{"session":"s","commands":[`, `{"op":"publish","channel":"chat.1","data":1}]}`}},
	} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Grace: time.Hour})
			a := w.drip(w.as(w.tokenFor("ann", chat, lifetime), c.r), 2, lifetime, func(i int) string { return c.parts[i] })
			a.wantProblem(t, what, protocol.Expired)
			if n := len(w.history("chat.1")); n != 0 {
				t.Errorf("%s: %d messages are stored", what, n)
			}
		})
	}
}

// drip sends a request's body in n parts, the first at once.
func (w *world) drip(r request, n int, every time.Duration, part func(i int) string) answer {
	w.t.Helper()
	body, in := io.Pipe()
	r.stream = body
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			if i > 0 {
				time.Sleep(every)
			}
			if _, err := io.WriteString(in, part(i)); err != nil {
				return // it was answered
			}
		}
		_ = in.Close()
	}()
	response := w.send(r)
	_ = body.CloseWithError(errors.New("answered"))
	<-done
	synctest.Wait()
	return answerOf(w.t, response)
}

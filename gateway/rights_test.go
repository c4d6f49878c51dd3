package gateway

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Rights that are taken away, or given to all, while they are in use (PROTOCOL.md 2.5).

// wantUnauthorized checks that the attachment ends as its transport ends what is unauthorized.
func (l *link) wantUnauthorized() {
	l.w.t.Helper()
	if f := l.want("error"); f.Code != "unauthorized" {
		l.w.t.Errorf("got %s", f.raw)
	}
	if l.transport == protocol.WebSocket {
		l.wantClose(4401)
	} else if err := l.wantEnd(); !isEnd(err) {
		l.w.t.Errorf("the end: got %v", err)
	}
}

func TestAnAPIKeyThatIsTakenAwayEndsWhatItHas(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		key := auth.NewAPIKey()
		w := &guarded{world: newWorld(t, withKey(t, key, chat), broker.Options{})}
		hello := helloAs(key, `"session":"s","wait":50,"channels":{"chat.1":{}}`)
		l, polled, began := w.attach(transport, hello), w.waiting(hello), time.Now()
		w.reload(withKey(t, auth.NewAPIKey(), chat)) // another of the same name
		l.wantUnauthorized()
		(<-polled).wantProblem(t, "a poll that waits", protocol.Unauthorized)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		w.begin(transport, attaching(hello)).wantCode(t, "again", protocol.Unauthorized)
	}, streams...)
}

func TestAnAPIKeyThatIsTakenAwayEndsItsIngest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		key := auth.NewAPIKey()
		w := &guarded{world: newWorld(t, withKey(t, key, chat), broker.Options{})}
		gone := withKey(t, auth.NewAPIKey(), chat)
		time.AfterFunc(2500*time.Millisecond, func() { w.reload(gone) })
		a := w.drip(w.as(key, poster("chat.1", protocol.MediaStream, "")), 5, time.Second, func(int) string { return "{\"data\":1}\n" })
		if a.wantProblem(t, "an ingest", protocol.Unauthorized); a.Stored != 3 {
			t.Errorf("got %s", a.body)
		}
	})
}

func TestNarrowedRightsEndWhatTheyDoNotCover(t *testing.T) {
	narrow, wide := auth.Rights{Subscribe: []string{"chat.1"}}, auth.Rights{Subscribe: []string{">"}}
	key := auth.NewAPIKey()
	for who, settings := range map[string]func(auth.Rights) Options{
		"an API key": func(r auth.Rights) Options { return withKey(t, key, r) },
		"anonymous":  func(r auth.Rights) Options { return withAnonymous(t, &r) },
	} {
		over(t, func(t *testing.T, transport protocol.Transport) {
			w := newWorld(t, settings(wide), broker.Options{})
			token := ""
			if who == "an API key" {
				w, token = (&guarded{world: w}).bearing(key), key
			}
			l := w.attach(transport, helloAs(token, `"session":"s","channels":{"chat.1":{},"chat.2":{}}`))
			defer l.hangUp()
			polled := w.waiting(helloAs(token, `"session":"p","wait":50,"channels":{"chat.1":{},"chat.2":{}}`))
			untouched := w.waiting(helloAs(token, `"session":"q","wait":5,"channels":{"chat.1":{}}`))
			began := time.Now()
			w.reload(settings(narrow))
			if f := l.want("unsubscribed"); f.Channel != "chat.2" || f.Code != "forbidden" {
				t.Errorf("%s: got %s", who, f.raw)
			}
			if a := <-polled; a.status != 200 || len(a.Frames) != 1 || parseFrame(t, a.Frames[0]).Op != "unsubscribed" || parseFrame(t, a.Frames[0]).Channel != "chat.2" {
				t.Errorf("%s, a poll that waits: got %d %s", who, a.status, a.body)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: it took %v", who, took)
			}
			w.publish("chat.2", 1)
			if a := <-untouched; a.status != 200 || len(a.Frames) != 0 || time.Since(began) != 5*time.Second {
				t.Errorf("%s, a poll of what is still granted: got %d %s after %v", who, a.status, a.body, time.Since(began))
			}
			w.publish("chat.1", 2)
			equal(t, who, l.collect(1), []string{"2"})
			l.replyTo(`{"op":"subscribe","cid":1,"channel":"chat.2"}`).wantError(t, who, protocol.Forbidden)
			w.reload(settings(wide))
			if f := l.replyTo(`{"op":"subscribe","cid":1,"channel":"chat.2"}`); !f.OK {
				t.Errorf("%s, widened again: got %+v", who, f)
			}
		}, streams...)
	}
}

// Who does not read does not keep others what they have lost.
func TestAClientThatReadsNothingHoldsUpNoReload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withAnonymous(t, &auth.Rights{Subscribe: []string{">"}}), broker.Options{})
		var stuck []*link
		for range 5 {
			l := w.attach(protocol.WebSocket, `{"channels":{"a":{},"b":{}}}`)
			defer l.hangUp()
			for range 2 { // one is being written, one waits
				w.g.attachment(l.welcome.Attachment).tell(owed{raw: make([]byte, maxOwed)})
				w.settle()
			}
			stuck = append(stuck, l)
		}
		began := time.Now()
		w.reload(withAnonymous(t, &auth.Rights{Subscribe: []string{"a"}}))
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		for _, l := range stuck {
			if names := w.g.attachment(l.welcome.Attachment).reader.Names(); len(names) != 1 || names[0] != "a" {
				t.Errorf("subscribed to %v", names)
			}
		}
	})
}

// What an attachment is owed before anybody writes for it does not wait for others.
func TestAnAttachmentBeginsWhileMuchWaitsToBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withAnonymous(t, &chat), broker.Options{})
		others := w.g.door.Share(admission.Client{})
		others.Hold(w.g.limits().Pending + 1)
		defer others.LetGo(w.g.limits().Pending + 1)
		hello, err := protocol.ParseHello([]byte(`{"channels":{"chat.1":{},"news.1":{},"news.2":{}}}`), 10)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			grant, _ := w.g.identify(t.Context(), client{}, credential{}, "")
			a, err := w.g.attach(t.Context(), overSSE, hello, client{grant: grant})
			if err != nil {
				t.Error(err)
				return
			}
			a.detach()
		}()
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("it waits")
			for _, a := range w.g.all() {
				a.end(ending{})
			}
			<-done
		}
	})
}

func TestAnOpenGatewayThatGetsKeysEndsWhatThereIs(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		hello := `{"session":"s","wait":50,"channels":{"chat.1":{},"news.1":{}}}`
		l, polled := w.attach(transport, hello), w.waiting(hello)
		w.reload(options(t, Options{}, nil))
		l.wantUnauthorized()
		(<-polled).wantProblem(t, "a poll that waits", protocol.Unauthorized)
		w.begin(transport, attaching(hello)).wantCode(t, "again", protocol.Unauthorized)
		w.call(poster("chat.1", "text/plain", "x")).wantProblem(t, "a publish", protocol.Unauthorized)
		w.call(request{method: "GET", path: "/metrics"}).wantProblem(t, "metrics", protocol.Unauthorized)
	}, streams...)
	over(t, func(t *testing.T, transport protocol.Transport) { // or narrows it
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"session":"s","channels":{"chat.1":{},"news.1":{}}}`)
		defer l.hangUp()
		w.reload(withAnonymous(t, &chat))
		if f := l.want("unsubscribed"); f.Channel != "news.1" {
			t.Errorf("got %s", f.raw)
		}
		w.publish("chat.1", 1)
		equal(t, "what is granted to all", l.collect(1), []string{"1"})
	}, streams...)
}

// A file of settings that is empty for a moment must not let everybody in.
func TestAGatewayWithKeysDoesNotBecomeOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		if err := w.g.Reload(Options{}); err == nil || !strings.Contains(err.Error(), "restart") {
			t.Errorf("got %v", err)
		}
		w.call(poster("chat.1", "text/plain", "x")).wantProblem(t, "afterwards", protocol.Unauthorized)
	})
}

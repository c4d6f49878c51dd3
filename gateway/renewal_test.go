package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Refreshing (PROTOCOL.md 2.5).

// renew gives an attachment another token by its own way: over a WebSocket, and
// else with a request that shows it. It returns the reply, and what came before it.
func (g *guarded) renew(l *link, token string) (reply frame, before []frame) {
	g.t.Helper()
	if l.transport != protocol.WebSocket {
		return g.bearing(token).commands(l, `{"op":"auth","cid":"a"}`)[0], nil
	}
	l.sendText(`{"op":"auth","cid":"a","token":"` + token + `"}`)
	for {
		f := l.next()
		if f.Op == "reply" {
			return f, before
		}
		before = append(before, f)
	}
}

// mustRenew is renew that works.
func (g *guarded) mustRenew(l *link, token string) (before []frame) {
	g.t.Helper()
	reply, before := g.renew(l, token)
	if !reply.OK || string(reply.To) != `"a"` {
		g.t.Fatalf("auth: got %+v", reply)
	}
	return before
}

// store is publish beside what else is going on.
func (w *world) store(channel string, payload any) {
	if _, err := w.broker.Publish(w.t.Context(), broker.Publication{Channel: channel, Payload: fmt.Append(nil, payload)}); err != nil {
		w.t.Error(err)
	}
}

func TestARefreshLeavesNoGap(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: time.Second})
		hello := func(start string) string {
			return helloAs(w.tokenFor("ann", chat, 10*time.Second), `"session":"s","welcome":true,"wait":0,"channels":{"chat.1":{`+start+`}}`)
		}
		l := w.attach(transport, hello(""))
		defer func() { l.hangUp() }()
		attachment := l.welcome.Attachment
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for i := range 80 {
				w.store("chat.1", i)
				time.Sleep(500 * time.Millisecond)
			}
		})
		var got, want []string
		for refreshed, n := time.Now(), 0; len(got) < 80; {
			if time.Since(refreshed) >= 8*time.Second && len(l.queue) == 0 {
				refreshed, n = time.Now(), n+1
				if transport == protocol.Poll {
					l = w.attach(transport, hello(`"after":"`+l.cursor+`"`))
					continue
				}
				reply, before := w.renew(l, w.tokenFor("ann", chat, 10*time.Second))
				if !reply.OK || reply.ExpiresIn != 10_000 {
					t.Fatalf("refresh %d: got %+v", n, reply)
				}
				for _, f := range before {
					if f.Op == "message" {
						got = append(got, f.String())
					}
				}
				continue
			}
			got = append(got, l.want("message").String())
		}
		for i := range 80 {
			want = append(want, fmt.Sprint(i))
		}
		equal(t, "through four refreshes", got, want)
		if all := w.g.all(); transport != protocol.Poll && (len(all) != 1 || all[0].id != attachment) {
			t.Errorf("it is another attachment: %v", all)
		}
	})
}

func TestARefreshWithAnotherSubIsRefused(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		l := w.attach(transport, helloAs(w.token("ann", chat), `"session":"s","channels":{"chat.1":{}}`))
		defer l.hangUp()
		l.w = w.bearing(w.token("ann", chat))
		for who, token := range map[string]string{"bob": w.token("bob", auth.Everything()), "nobody": w.token("", auth.Everything()), "Ann": w.token("Ann", chat), "an API key": w.admin} {
			f := l.command(`{"op":"auth","cid":1,"token":"` + token + `"}`)
			f.wantError(t, who, protocol.Forbidden)
		}
		l.command(`{"op":"auth","cid":1,"token":"garbage"}`).wantError(t, "garbage", protocol.Unauthorized)
		l.command(`{"op":"subscribe","cid":1,"channel":"news.1"}`).wantError(t, "it has the grant that it had", protocol.Forbidden)
		w.publish("chat.1", 1)
		equal(t, "it goes on", l.collect(1), []string{"1"})
	}, streams...)
}

func TestAuthWithoutATokenIsForRequests(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		l := w.attach(transport, helloAs(w.token("ann", chat), `"session":"s","channels":{"chat.1":{}}`))
		defer l.hangUp()
		if transport == protocol.WebSocket {
			l.command(`{"op":"auth","cid":1}`).wantError(t, "auth without a token", protocol.BadRequest)
		}
		commands := `"session":"s","attachment":"` + l.welcome.Attachment + `","commands":[{"op":"auth","cid":1`
		minutes := func(n time.Duration) string { return w.tokenFor("ann", chat, n*time.Minute) }
		for want, r := range map[int64]request{
			1: w.as(minutes(1), request{body: "{" + commands + "}]}"}),
			2: w.as("garbage", request{body: helloAs(minutes(2), commands+"}]")}),
			3: w.as(minutes(9), request{body: "{" + commands + `,"token":"` + minutes(3) + `"}]}`}),
			4: w.as("garbage", request{body: helloAs(minutes(9), commands+`,"token":"`+minutes(4)+`"}]`)}),
		} {
			r.method, r.path = "POST", "/v1/commands"
			if a := w.call(r); a.status != 200 || !a.Replies[0].OK || a.Replies[0].ExpiresIn != want*60_000 {
				t.Errorf("got %d %s, want what expires in %d min", a.status, a.body, want)
			}
			if got := w.g.attachment(l.welcome.Attachment).grant.Load().Expires; !got.Equal(time.Now().Add(time.Duration(want) * time.Minute)) {
				t.Errorf("the attachment's grant expires at %s", got)
			}
		}
	}, streams...)
}

// In an open gateway there is nothing to refresh, and a client that does so all the same is not refused.
func TestAuthOfAnOpenGatewayIsAnswered(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"session":"s","token":"x","channels":{"a":{}}}`)
		defer l.hangUp()
		for _, command := range []string{`{"op":"auth","cid":1,"token":"anything"}`, `{"op":"auth","cid":1}`} {
			if f := l.command(command); !f.OK || f.ExpiresIn != 0 {
				t.Errorf("%s: got %+v", command, f)
			}
		}
		w.publish("a", 1)
		equal(t, "it goes on", l.collect(1), []string{"1"})
	}, streams...)
}

func TestASmallerGrantEndsWhatItDoesNotCoverAtOnce(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		l := w.attach(transport, helloAs(w.token("ann", auth.Everything()), `"session":"s","channels":{"chat.1":{},"news.1":{},"news.>":{},"x":{}}`))
		defer l.hangUp()
		var wg sync.WaitGroup
		wg.Go(func() { // right before and right after
			for i := range 200 {
				for _, channel := range []string{"news.1", "chat.1"} {
					w.store(channel, i)
				}
			}
		})
		got, ended := map[string][]string{}, map[string]bool{}
		see := func(f frame) {
			switch f.Op {
			case "message":
				if got[f.Channel] = append(got[f.Channel], f.String()); f.Channel == "news.1" && ended["news.1"] && ended["news.>"] {
					t.Errorf("after its end came %s", f.raw)
				}
			case "unsubscribed":
				if f.Code != "forbidden" || !strings.Contains(f.Message, f.Channel) || ended[f.Channel] {
					t.Errorf("got %s", f.raw)
				}
				ended[f.Channel] = true
			case "reply", "error":
				t.Fatalf("got %s", f.raw)
			}
		}
		for len(got["chat.1"]) < 100 {
			see(l.next())
		}
		for _, f := range w.mustRenew(l, w.token("ann", chat)) {
			see(f)
		}
		for len(got["chat.1"]) < 200 || len(ended) < 3 {
			see(l.next())
		}
		wg.Wait()
		w.publish("news.1", 1000)
		w.publish("x", 1000)
		w.publish("chat.1", 200)
		see(l.want("message"))
		for channel, messages := range got {
			for i, m := range messages {
				if m != fmt.Sprint(i) {
					t.Fatalf("the message %d of %s is %s", i, channel, m)
				}
			}
		}
		if len(got["chat.1"]) != 201 || len(got["x"]) != 0 || !ended["news.1"] || !ended["news.>"] || !ended["x"] || ended["chat.1"] {
			t.Errorf("%d messages came, and %v ended", len(got["chat.1"]), ended)
		}
		l.w = w.bearing(w.token("ann", chat))
		l.command(`{"op":"subscribe","cid":1,"channel":"news.1"}`).wantError(t, "again", protocol.Forbidden)
		w.mustRenew(l, w.token("ann", auth.Everything()))
		if f := l.replyTo(`{"op":"subscribe","cid":1,"channel":"news.1"}`); !f.OK { // subscribed comes before it or after it
			t.Errorf("with the grant that there was: got %+v", f)
		}
	}, streams...)
}

// However subscribes and refreshes overtake each other, what is served in the
// end is granted, and the stream of messages has told so.
func TestASubscribeThatRacesWithARefreshIsServedOnlyWhatIsGranted(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		wide, narrow := w.bearing(w.token("ann", auth.Everything())), w.bearing(w.token("ann", chat))
		l := w.attach(transport, helloAs(w.token("ann", auth.Everything()), `"session":"s","channels":{"chat.1":{}}`))
		defer l.hangUp()
		command := func(as *world, text string) {
			a, err := as.trySend(request{method: "POST", path: "/v1/commands", body: `{"session":"s","attachment":"` + l.welcome.Attachment + `","commands":[` + text + `]}`})
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.Body.Close()
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				for range 20 {
					command(wide, fmt.Sprintf(`{"op":"subscribe","channel":"news.%d"}`, i))
					command(wide, fmt.Sprintf(`{"op":"publish","channel":"news.%d","data":1}`, i))
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				for range 40 {
					command(narrow, `{"op":"auth"}`)
					command(wide, `{"op":"auth"}`)
				}
			})
		}
		served := map[string]bool{"chat.1": true}
		done := make(chan struct{})
		go func() {
			defer close(done)
			wg.Wait()
			command(narrow, `{"op":"auth"}`)
			for i := range 10 {
				command(wide, fmt.Sprintf(`{"op":"publish","channel":"news.%d","data":2}`, i))
			}
			command(wide, `{"op":"publish","channel":"chat.1","data":"end"}`)
		}()
		for {
			f := l.next()
			switch f.Op {
			case "subscribed":
				served[f.Channel] = true
			case "unsubscribed":
				delete(served, f.Channel)
			case "message":
				if !served[f.Channel] {
					t.Errorf("not served, but sent: %s", f.raw)
				}
			}
			if string(f.Data) == `"end"` {
				break
			}
		}
		<-done
		if names := w.g.attachment(l.welcome.Attachment).reader.Names(); len(served) != 1 || !slices.Equal(names, []string{"chat.1"}) {
			t.Errorf("%v is served, and %v was told", names, served)
		}
	}, streams...)
}

// A refresh reaches an attachment on whichever node it is; the token does not go there.
func TestARefreshReachesAnAttachmentOnAnotherNode(t *testing.T) {
	near, far, url := twoGuarded(t)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var mu sync.Mutex
	var relayed strings.Builder
	if _, err := nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&relayed, "%s %v %s\n", m.Subject, m.Header, m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	for _, transport := range streams {
		l := far.attach(transport, helloAs(far.token("ann", auth.Everything()), `"session":"s","channels":{"chat.1":{},"news.1":{}}`))
		token := near.tokenFor("ann", chat, 30*time.Minute)
		for _, f := range []frame{
			near.bearing(token).commands(l, `{"op":"auth","cid":"x"}`)[0],
			near.bearing(far.token("ann", chat)).commands(l, `{"op":"auth","cid":"x","token":"`+token+`"}`)[0],
		} {
			if !f.OK || string(f.To) != `"x"` || f.ExpiresIn < 29*60_000 || f.ExpiresIn > 30*60_000 {
				t.Errorf("%s: got %+v", transport, f)
			}
		}
		if f := l.want("unsubscribed"); f.Channel != "news.1" {
			t.Errorf("got %s", f.raw)
		}
		far.publish("news.1", 1)
		far.publish("chat.1", 2)
		equal(t, string(transport), l.collect(1), []string{"2"})
		near.bearing(near.token("bob", auth.Everything())).commands(l, `{"op":"auth"}`)[0].wantError(t, "bob's", protocol.Gone)
		near.bearing(token).commands(l, `{"op":"auth","token":"`+near.token("bob", chat)+`"}`)[0].wantError(t, "bob's token", protocol.Forbidden)
		near.bearing(token).commands(l, `{"op":"auth","token":"garbage"}`)[0].wantError(t, "garbage", protocol.Unauthorized)
		l.hangUp()
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if all := relayed.String(); !strings.Contains(all, `"renewal"`) || strings.Contains(all, "eyJ") || strings.Contains(all, "garbage") {
		t.Errorf("a token was relayed, or nothing was seen: %s", all)
	}
}

// A subscribe takes a moment to find its place in the stored log.
func TestASubscribeThatARefreshOvertakesIsEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, minter, admin := guard(t, Options{}, nil)
		w := &guarded{newWorld(t, o, broker.Options{TailBytes: 1}), minter, admin}
		w.publish("news.1", 1, 2, 3)
		hello, err := protocol.ParseHello([]byte(`{"channels":{"chat.1":{}}}`), 10)
		if err != nil {
			t.Fatal(err)
		}
		verified := func(r auth.Rights) *auth.Grant {
			grant, err := w.g.identify(t.Context(), client{}, credential{text: w.token("ann", r)}, "")
			if err != nil {
				t.Fatal(err)
			}
			return grant
		}
		wide, narrow := verified(auth.Everything()), verified(chat)
		a, err := w.g.attach(t.Context(), overSSE, hello, client{grant: wide})
		if err != nil {
			t.Fatal(err)
		}
		defer a.detach()
		refreshed := false
		ctx := asked{t.Context(), sync.OnceFunc(func() {
			_, err = a.renew(narrow)
			refreshed = err == nil
		})}
		if _, err := a.subscribe(ctx, "news.1", protocol.Start{Last: 2}); protocol.ErrorFrom(err).Code != protocol.Forbidden || !refreshed {
			t.Errorf("got %v, refreshed meanwhile: %v", err, refreshed)
		}
		if names := a.reader.Names(); !slices.Equal(names, []string{"chat.1"}) {
			t.Errorf("subscribed to %v", names)
		}
		if told := string(a.owed[len(a.owed)-1].wire.JSON()); !strings.Contains(told, `"op":"unsubscribed","channel":"news.1"`) {
			t.Errorf("told last was %s", told)
		}
	})
}

// asked is a context that tells when somebody begins to wait with it.
type asked struct {
	context.Context

	tell func()
}

func (a asked) Done() <-chan struct{} {
	a.tell()
	return a.Context.Done()
}

package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Other options while the gateway runs.

// options are guarded ones, changed.
func options(t testing.TB, o Options, change func(*auth.Options)) Options {
	t.Helper()
	o, _, _ = guard(t, o, change)
	return o
}

// withKey are options with the API key for those rights, beside the secret.
func withKey(t testing.TB, key string, r auth.Rights) Options {
	t.Helper()
	return options(t, Options{}, func(a *auth.Options) {
		a.APIKeys = []auth.APIKey{{Name: "k", Hash: auth.HashAPIKey(key), Rights: r}}
	})
}

// withAnonymous are options with rights for who shows nothing.
func withAnonymous(t testing.TB, r *auth.Rights) Options {
	t.Helper()
	return options(t, Options{}, func(a *auth.Options) { a.Anonymous = r })
}

// waiting begins a poll that waits.
func (w *world) waiting(hello string) <-chan answer {
	got := make(chan answer, 1)
	go func() { got <- answerOf(w.t, w.send(attaching(hello))) }()
	w.settle()
	return got
}

func TestARotationOfKeysLeavesWhoIsThere(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		other, err := auth.SecretKey("second", bytes.Repeat([]byte("another secret.."), 2))
		if err != nil {
			t.Fatal(err)
		}
		minter, err := auth.NewMinter(other, "", "")
		if err != nil {
			t.Fatal(err)
		}
		old := w.token("ann", chat)
		l, polled := w.short(transport), w.waiting(helloAs(old, `"session":"p","wait":20,"channels":{"chat.1":{}}`))
		defer l.hangUp()
		w.reload(options(t, Options{Grace: grace}, func(a *auth.Options) { a.Keys = []auth.Key{other} }))
		rotated := &guarded{w.world, minter, ""}
		fresh := rotated.token("ann", chat)
		w.publish("chat.1", 1)
		equal(t, "who was there", l.collect(1), []string{"1"})
		if a := <-polled; a.status != 200 || len(a.Frames) != 1 {
			t.Errorf("a poll that waited: got %d %s", a.status, a.body)
		}
		w.begin(transport, attaching(helloAs(old, `"channels":{"chat.1":{}}`))).wantCode(t, "the old key's", protocol.Unauthorized)
		if f := w.begin(transport, attaching(helloAs(fresh, `"channels":{"chat.1":{}}`))); f.Op != "welcome" {
			t.Errorf("the new key's: got %s", f.raw)
		}
		time.Sleep(lifetime)
		rotated.mustRenew(l, fresh)
		time.Sleep(grace)
		w.publish("chat.1", 2)
		equal(t, "renewed by the new key's", l.collect(1), []string{"2"})
	}, streams...)
}

func TestOtherLimitsTouchNobodyWhoIsThere(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		o := options(t, Options{}, nil)
		w := &guarded{world: newWorld(t, o, broker.Options{})}
		w.minter, _ = auth.NewMinter(mustSecret(t), "", "")
		rights := auth.Rights{Subscribe: []string{"a"}, Publish: []string{"a"}}
		hello := helloAs(w.token("ann", rights), `"session":"s","wait":0,"channels":{"a":{}}`)
		first, second := w.from(someone).attach(transport, hello), w.from(someone).attach(transport, hello)
		defer first.hangUp()
		defer second.hangUp()
		for limits, limit := range map[Limits]string{
			{Attachments: 1}: "attachments", {AttachmentsPerIP: 1}: "attachments_per_ip", {AttachmentsPerSub: 1}: "attachments_per_sub",
		} {
			o.Limits = limits
			w.reload(o)
			before := w.timesRefused(limit)
			if f := w.from(someone).begin(protocol.SSE, attaching(hello)); f.Op != "error" || w.timesRefused(limit) != before+1 {
				t.Errorf("%s: got %s", limit, f.raw)
			}
			w.publish("a", 1)
			for _, l := range []*link{first, second} {
				equal(t, limit, l.collect(1), []string{"1"})
			}
			o.Limits = Limits{}
			w.reload(o)
			if f := w.from(someone).begin(transport, attaching(hello)); f.Op != "welcome" {
				t.Errorf("%s, raised again: got %s", limit, f.raw)
			}
			w.settle()
		}
		o.Limits = Limits{Frame: 100}
		w.reload(o)
		w.call(w.as(w.token("ann", rights), poster("a", "text/plain", strings.Repeat("x", 101)))).wantProblem(t, "a large message", protocol.TooLarge)
		get := w.as(w.token("ann", rights), request{method: "GET", path: "/v1/attach?channel=a&wait=0"})
		if f := w.begin(transport, get); f.Limits.Frame != 100 {
			t.Errorf("got %s", f.raw)
		}
	}, protocol.SSE)
}

func TestAnotherGraceIsInForceAtOnce(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		o := options(t, Options{Grace: time.Hour}, nil)
		w := &guarded{world: newWorld(t, o, broker.Options{})}
		w.minter, _ = auth.NewMinter(mustSecret(t), "", "")
		l, began := w.short(transport), time.Now()
		for time.Since(began) < lifetime+time.Minute {
			l.next() // nothing waits to be written, and the next beat is 5 s away
		}
		o.Grace = 61 * time.Second
		w.reload(o)
		l.wantExpired(began.Add(lifetime + o.Grace))
		l, began = w.short(transport), time.Now()
		time.Sleep(lifetime + 61*time.Second - time.Nanosecond)
		o.Grace = 2 * time.Minute
		w.reload(o)
		l.wantExpired(began.Truncate(time.Second).Add(lifetime + o.Grace))
	}, streams...)
}

func TestOtherPagesAndProxiesAreInForceAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{AttachesPerIP: 1}}, broker.Options{})
		page := request{method: "GET", path: "/v1/channels/a/messages", headers: app}
		w.call(page).wantProblem(t, "a page", protocol.Forbidden)
		w.reload(Options{Origins: []string{"https://app.example.com"}})
		if a := w.call(page); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("a page that is listed: got %d %v", a.status, a.header)
		}
		w.reload(Options{LocalOnly: true})
		w.call(request{method: "GET", path: "/v1/ping"}).wantProblem(t, "another host", protocol.Forbidden)
		w.reload(Options{})
		w.call(page).wantProblem(t, "a page that is listed no more", protocol.Forbidden)

		named := request{method: "GET", path: "/v1/attach?channel=a&wait=0", headers: "X-Forwarded-For: 192.0.2.99"}
		hint := func() string { return parseFrame(t, w.from("198.51.100.1:1").call(named).Frames[0]).Net }
		if got := hint(); got != "" {
			t.Errorf("a proxy that is not trusted: got %q", got)
		}
		w.reload(Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
		if got := hint(); got == "" {
			t.Error("a proxy that is trusted: got none")
		}
		named.headers = "Forwarded: for=192.0.2.99"
		w.reload(Options{Forwarded: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
		if got := hint(); got == "" {
			t.Error("a proxy that says so by Forwarded: got none")
		}
	})
}

func TestAReloadThatFailsChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Origins: []string{"https://app.example.com"}, Grace: grace})
		l, began := w.short(protocol.SSE), time.Now()
		bad := Options{Auth: w.g.options.Auth, Origins: []string{"nonsense"}, Grace: time.Hour, LocalOnly: true, Limits: Limits{Attachments: 1, Frame: 1, AttachmentsPerSub: -1}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
		if err := w.g.Reload(bad); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("got %v", err)
		}
		w.call(request{method: "GET", path: "/v1/channels/chat.1/messages"}).wantProblem(t, "nothing", protocol.Unauthorized)
		post := w.as(w.token("ann", chat), poster("chat.1", "text/plain", "more than a byte"))
		post.headers += "\n" + app
		if a := w.call(post); a.status != 201 || a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("got %d %s", a.status, a.body)
		}
		l.want("message")
		l.wantExpired(began.Add(lifetime + grace))
	})
}

// Not only what is asked for may be wrong.
func TestAReloadThatFindsNoLogChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		guarded := options(t, Options{LocalOnly: true}, nil)
		if err := w.broker.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.g.Reload(guarded); err == nil {
			t.Error("what was revoked is not known, and everybody is let in")
		}
		if a := w.call(request{method: "GET", path: "/v1/ping"}); a.status != 200 || w.g.policy.Load().auth != nil {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

// Whatever is reloaded meanwhile, who is allowed throughout sees everything once, in order.
func TestReloadsBesideTrafficDropNobodyWhoIsAllowed(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		key := auth.NewAPIKey()
		settings := []Options{
			withKey(t, key, auth.Everything()), withKey(t, key, auth.Rights{Subscribe: []string{"chat.*"}, Publish: []string{"chat.1"}}),
			withAnonymous(t, &chat), options(t, Options{Origins: []string{"*"}, Grace: time.Second, Limits: Limits{Attachments: 50, PublishesPerSub: -1}}, nil),
		}
		w := &guarded{world: newWorld(t, settings[0], broker.Options{})}
		w.minter, _ = auth.NewMinter(mustSecret(t), "", "")
		token := w.token("ann", chat)
		l := w.attach(transport, helloAs(token, `"session":"s","wait":1,"welcome":true,"channels":{"chat.1":{}}`))
		defer l.hangUp()
		const n = 200
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := w.g.Reload(settings[i%len(settings)]); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
		wg.Go(func() {
			for i := range n {
				w.store("chat.1", i)
				time.Sleep(time.Millisecond)
			}
		})
		for _, r := range []request{ // of who comes and goes; what is answered depends
			w.as(key, poster("chat.2", "text/plain", "x")), w.as(key, commanding(`{"op":"history","channel":"chat.1"}`)), {method: "GET", path: "/v1/attach?channel=chat.1&wait=0.01&session=x"},
			w.as(token, request{method: "POST", path: "/v1/tickets"}), w.as(token, request{method: "GET", path: "/v1/attach?channel=chat.2&wait=0.01&session=y", headers: app}),
		} {
			wg.Go(func() {
				for ctx.Err() == nil {
					response, err := w.trySend(r)
					if err != nil {
						t.Error(err)
						return
					}
					if response.StatusCode >= 500 && response.StatusCode != 503 {
						t.Errorf("%s: got %s", r.path, response.Status)
					}
					_ = response.Body.Close()
					time.Sleep(time.Millisecond)
				}
			})
		}
		for i := range n {
			if f := l.want("message"); f.String() != fmt.Sprint(i) {
				t.Fatalf("got %s, want the message %d", f.raw, i)
			}
		}
	})
}

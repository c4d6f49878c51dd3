package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Tickets (PROTOCOL.md 2.5 and 4.6).

// ticketed attaches with a ticket as an EventSource or a plain WebSocket does, with nothing but a URL.
func ticketed(ticket string) request {
	return request{method: "GET", path: "/v1/attach?channel=chat.1&wait=0&ticket=" + ticket}
}

func TestATicketStandsForItsGrantOnce(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		time.Sleep(10 * time.Minute)
		ticket := w.issue(token)
		f := w.begin(transport, ticketed(ticket))
		if f.Op != "welcome" || f.ExpiresIn != (50*time.Minute).Milliseconds() || f.Channels["chat.1"].After == "" {
			t.Errorf("got %s", f.raw)
		}
		for _, again := range protocol.Transports() {
			w.begin(again, ticketed(ticket)).wantCode(t, "again, by "+string(again), protocol.Unauthorized)
		}
		w.begin(transport, ticketed("tk_AAAAAAAAAAAAAAAAAAAAAAAAAA")).wantCode(t, "one that never was", protocol.Unauthorized)
	})
}

func TestAnAttachmentByTicketIsItsOwnersInEveryWay(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Grace: grace})
		ticket := w.issue(w.tokenFor("ann", chat, lifetime))
		l := w.openGet(transport, "session=s&channel=chat.1&channel=news.1&ticket="+ticket, "")
		l.welcome = l.want("welcome")
		defer l.hangUp()
		if f := l.want("unsubscribed"); f.Channel != "news.1" {
			t.Errorf("got %s", f.raw)
		}
		l.w = w.bearing(w.token("ann", chat))
		if f := l.w.commands(l, `{"op":"publish","channel":"chat.1","data":1}`)[0]; !f.OK {
			t.Errorf("got %+v", f)
		}
		if m := l.want("message"); m.From != "ann" {
			t.Errorf("got %s", m.raw)
		}
		w.bearing(w.token("bob", chat)).commands(l, `{"op":"bye"}`)[0].wantError(t, "bob", protocol.Gone)
		l.wantExpired(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(lifetime + grace))
		l = w.openGet(transport, "session=s&channel=chat.1&ticket="+w.issue(w.token("ann", chat)), "")
		l.want("welcome")
		w.revoke(`"sub":"ann"`)
		l.wantRevoked()
	}, streams...)
}

func TestATicketIsGoodFor30Seconds(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		early, late := w.issue(token), w.issue(token)
		time.Sleep(auth.TicketLifetime - time.Nanosecond)
		if f := w.begin(transport, ticketed(early)); f.Op != "welcome" {
			t.Errorf("a moment before: got %s", f.raw)
		}
		time.Sleep(time.Nanosecond)
		w.begin(transport, ticketed(late)).wantCode(t, "after 30 s", protocol.Unauthorized)
	})
}

// Of many who have seen it, one gets in.
func TestATicketIsUsedOnceByMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		ticket := w.issue(w.token("ann", chat))
		got := make(chan int, 50)
		var wg sync.WaitGroup
		for range cap(got) {
			wg.Go(func() {
				response, err := w.trySend(ticketed(ticket))
				if err != nil {
					t.Error(err)
					return
				}
				got <- response.StatusCode
			})
		}
		wg.Wait()
		close(got)
		counts := map[int]int{}
		for status := range got {
			counts[status]++
		}
		if counts[200] != 1 || counts[401] != cap(got)-1 {
			t.Errorf("got %v", counts)
		}
	})
}

func TestATicketIsGoodOnEveryNodeAndOnOneOfThem(t *testing.T) {
	near, far, _ := twoGuarded(t)
	for _, transport := range protocol.Transports() {
		ticket := near.issue(near.token("ann", chat))
		if f := far.begin(transport, ticketed(ticket)); f.Op != "welcome" || f.ExpiresIn == 0 {
			t.Errorf("%s on the other node: got %s", transport, f.raw)
		}
		for i, node := range []*guarded{near, far} {
			node.begin(transport, ticketed(ticket)).wantCode(t, fmt.Sprint(transport, " again, on node ", i), protocol.Unauthorized)
		}
	}
	token := near.token("ann", chat)
	for range 10 { // at the same time
		ticket, got := near.issue(token), make(chan int, 2)
		for _, node := range []*guarded{near, far} {
			go func() { got <- node.send(ticketed(ticket)).StatusCode }()
		}
		if a, b := <-got, <-got; a+b != 200+401 {
			t.Errorf("got %d and %d", a, b)
		}
	}
}

func TestATicketIsForAttachingByGETOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		ticket := w.issue(w.token("", auth.Everything()))
		for _, r := range everyRoute() {
			if r.method == "GET" && !strings.HasPrefix(r.path, "/v1/channels/") {
				continue // it is for that, or they are for everybody
			}
			r.path += "&ticket=" + ticket
			w.call(r).wantProblem(t, r.method+" "+r.path, protocol.BadRequest)
		}
		w.call(request{method: "GET", path: "/metrics?ticket=" + ticket}).wantProblem(t, "metrics", protocol.BadRequest)
		for what, r := range map[string]request{
			"a header": w.as(ticket, request{method: "GET", path: "/v1/attach?channel=a"}), "a hello": attaching(helloAs(ticket, `"channels":{"a":{}}`)),
			"a cookie": {method: "GET", path: "/v1/attach?channel=a", headers: "Cookie: " + cookieName + "=" + ticket},
		} {
			w.call(r).wantProblem(t, "a ticket in "+what, protocol.Unauthorized)
		}
		if f := w.begin(protocol.SSE, ticketed(ticket)); f.Op != "welcome" {
			t.Errorf("it is used up: got %s", f.raw)
		}
	})
}

func TestATicketLastsNoLongerThanWhatItStandsFor(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		short := w.issue(w.tokenFor("ann", chat, 10*time.Second))
		time.Sleep(10 * time.Second)
		w.begin(transport, ticketed(short)).wantCode(t, "of a token that has expired", protocol.Expired)
		for _, what := range []string{"sub", "jti", "session"} {
			token := w.token("ann-"+what, chat)
			ticket := w.issue(token)
			w.revoke(map[string]string{"sub": `"sub":"ann-sub"`, "jti": `"jti":"` + w.jti(token) + `"`, "session": `"session":"s"`}[what])
			r := ticketed(ticket)
			r.path += "&session=s"
			w.begin(transport, r).wantCode(t, "revoked by "+what, protocol.Unauthorized)
		}
	})
}

func TestATicketOfAnAPIKeyThatWasTakenBackIsNone(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		key, other := auth.NewAPIKey(), auth.NewAPIKey()
		with := func(rights auth.Rights, keys ...string) Options {
			o, _, _ := guard(t, Options{}, func(a *auth.Options) {
				for i, key := range keys {
					a.APIKeys = append(a.APIKeys, auth.APIKey{Name: fmt.Sprint("k", i), Hash: auth.HashAPIKey(key), Rights: rights})
				}
			})
			return o
		}
		w := &guarded{world: newWorld(t, with(chat, other, key), broker.Options{})}
		good, narrowed, gone := w.issue(key), w.issue(key), w.issue(key)
		if f := w.begin(transport, ticketed(good)); f.Op != "welcome" || f.ExpiresIn != 0 {
			t.Errorf("got %s", f.raw)
		}
		w.reload(with(auth.Rights{Subscribe: []string{"news.1"}}, other, key))
		w.begin(transport, ticketed(narrowed)).wantCode(t, "what is not granted any more", protocol.Forbidden)
		w.reload(with(chat, other))
		w.begin(transport, ticketed(gone)).wantCode(t, "a key that is no more", protocol.Unauthorized)
	})
}

// reload puts other options in force.
func (w *world) reload(o Options) {
	w.t.Helper()
	if err := w.g.Reload(o); err != nil {
		w.t.Fatal(err)
	}
}

// A ticket makes no page one that may use the gateway.
func TestATicketFromAPageThatIsNotListedIsRefused(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Origins: []string{"https://app.example.com"}})
		ticket := w.issue(w.token("ann", chat))
		r := ticketed(ticket)
		if r.headers = "Origin: https://evil.example"; transport == protocol.WebSocket {
			w.rawCall(rawHandshakeTo(r)).wantProblem(t, "a handshake", protocol.Forbidden)
		} else {
			w.begin(transport, r).wantCode(t, "from a page that is not listed", protocol.Forbidden)
		}
		r.headers = "Origin: https://app.example.com"
		if f := w.begin(transport, r); f.Op != "welcome" {
			t.Errorf("from a page that is listed: got %s", f.raw)
		}
	})
}

// rawHandshakeTo is a WebSocket handshake as text.
func rawHandshakeTo(r request) string {
	text := "GET " + r.path + handshakeText[len("GET /v1/attach"):]
	if r.headers != "" {
		text += r.headers + "\r\n"
	}
	return text + "\r\n"
}

func TestATicketOfAnOpenGatewayWorksAsWell(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := &guarded{world: newWorld(t, Options{}, broker.Options{})}
		if f := w.begin(transport, ticketed(w.issue(""))); f.Op != "welcome" {
			t.Errorf("got %s", f.raw)
		}
	})
}

// For what shows no token, too: EventSource cannot tell which gateway it talks to.
func TestATicketOfTheAnonymousGrant(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		a := w.call(request{method: "POST", path: "/v1/tickets"})
		if a.status != 201 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		if f := w.begin(transport, ticketed(a.Ticket)); f.Op != "welcome" || f.ExpiresIn != 0 {
			t.Errorf("got %s", f.raw)
		}
		if a := newGuarded(t, Options{}).call(request{method: "POST", path: "/v1/tickets"}); a.status != 401 {
			t.Errorf("where nobody is let in without a token: got %d", a.status)
		}
		newGuarded(t, Options{}).begin(transport, ticketed(a.Ticket)).wantCode(t, "there", protocol.Unauthorized)
	})
}

func TestTicketsOfOneHolderAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{Tickets: 2}})
		ann := w.as(w.token("ann", chat), request{method: "POST", path: "/v1/tickets"})
		for range 2 * admission.BurstSeconds {
			w.call(ann)
		}
		after := w.wantRefused(ann, protocol.RateLimited, "tickets")
		for name, other := range map[string]string{"another": w.token("bob", chat), "an API key": w.admin} {
			if a := w.call(w.as(other, request{method: "POST", path: "/v1/tickets"})); a.status != 201 {
				t.Errorf("%s: got %d %s", name, a.status, a.body)
			}
		}
		time.Sleep(after)
		if a := w.call(ann); a.status != 201 {
			t.Errorf("after the time it asked for: got %d %s", a.status, a.body)
		}
	})
}

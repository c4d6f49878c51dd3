package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Who somebody is: what is stamped with it, what belongs to it, what is counted to it.

// PROTOCOL.md 1.3 and 2.5: nobody can say of themselves who they are.
func TestAForgedFromIsOverwrittenWhereverItStands(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		forged := `{"data":1,"from":"ann","From":"ann","sub":"ann","Fairlead-From":"ann"}`
		requests := map[string]request{
			"raw": poster("chat.1", "text/plain", "x"), "JSON": poster("chat.1", "application/json", forged),
			"an array": poster("chat.1", "application/json", "["+forged+"]"), "NDJSON": poster("chat.1", protocol.MediaStream, forged),
			"SSE":       poster("chat.1", protocol.MediaSSE, "from: ann\nFairlead-From: ann\nsub: ann\ndata: 1\n\n"),
			"fan-out":   {method: "POST", path: "/v1/publish", body: `{"channels":["chat.1"],` + forged[1:]},
			"a command": {method: "POST", path: "/v1/commands", body: `{"session":"s","from":"ann","sub":"ann","commands":[{"op":"publish","channel":"chat.1",` + forged[1:] + `]}`},
		}
		for who, token := range map[string]string{"bob": w.token("bob", chat), "nobody": w.token("", chat), "an API key": w.admin, "anonymous": ""} {
			for how, r := range requests {
				r.path += "?from=ann&sub=ann"
				r.headers += "\nFairlead-From: ann\nFrom: ann@x\nNats-Msg-Id: x\nX-Forwarded-User: ann\nRemote-User: ann"
				if token != "" {
					r = w.as(token, r)
				}
				if a := w.call(r); a.status >= 300 || len(a.Replies) > 0 && !a.Replies[0].OK {
					t.Fatalf("%s by %s: got %d %s", who, how, a.status, a.body)
				}
			}
			if token == "" {
				continue
			}
			l := w.attach(protocol.WebSocket, helloAs(token, `"from":"ann","sub":"ann","channels":{}`))
			if f := l.command(`{"op":"publish","cid":1,"channel":"chat.1",` + forged[1:]); !f.OK {
				t.Fatalf("%s by WebSocket: got %s", who, f.raw)
			}
			l.hangUp()
		}
		w.settle()
		a := w.call(w.keyed(request{method: "GET", path: "/v1/channels/chat.1/messages?limit=1000"}))
		froms := map[string]int{}
		for _, m := range a.Messages {
			froms[m.From]++
		}
		if len(a.Messages) != 4*len(requests)+3 || froms["bob"] != len(requests)+1 || froms[""] != 3*len(requests)+2 {
			t.Errorf("%d messages are from %v", len(a.Messages), froms)
		}
	})
}

// strangers may try what they like with an attachment of ann's.
func (w *guarded) strangers() map[string]string {
	return map[string]string{"bob": w.token("bob", auth.Everything()), "who has no sub": w.token("", auth.Everything()), "an API key": w.admin}
}

var touches = []string{`{"op":"subscribe","channel":"chat.2"}`, `{"op":"unsubscribe","channel":"chat.1"}`, `{"op":"beat"}`, `{"op":"auth"}`, `{"op":"bye"}`}

// touchBy sends every command for l by another's grant.
func (w *world) touchBy(what, token string, l *link) {
	w.t.Helper()
	headers := ""
	if token != "" {
		headers = "Authorization: Bearer " + token
	}
	a := w.call(request{method: "POST", path: "/v1/commands", headers: headers, body: `{"session":"` + l.welcome.Session + `","attachment":"` + l.welcome.Attachment + `","commands":[` + strings.Join(touches, ",") + `]}`})
	if len(a.Replies) != len(touches) {
		w.t.Fatalf("%s: got %d %s", what, a.status, a.body)
	}
	for i, f := range a.Replies {
		f.wantError(w.t, what+": "+touches[i], protocol.Gone)
		if f.Error.Message != errGone().Message {
			w.t.Errorf("%s: %q is not what is said of one that never was", what, f.Error.Message)
		}
	}
}

func TestAnAttachmentOfAnotherSubjectIsGone(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		l := w.attach(transport, helloAs(w.token("ann", chat), `"session":"s","channels":{"chat.1":{}}`))
		defer l.hangUp()
		strangers := w.strangers()
		strangers["anonymous"] = ""
		for who, token := range strangers {
			w.touchBy(who, token, l)
		}
		w.publish("chat.2", 1)
		w.publish("chat.1", 2)
		equal(t, "it is not touched", l.collect(1), []string{"2"})
		if got := w.g.attachment(l.welcome.Attachment).grant.Load(); got.Subject != "ann" || got.Expires.IsZero() {
			t.Errorf("it has the grant %+v", got)
		}
		nobodys := w.attach(transport, `{"session":"n","channels":{"chat.1":{}}}`)
		defer nobodys.hangUp()
		w.touchBy("ann, of whom has no sub", w.token("ann", auth.Everything()), nobodys)
		w.publish("chat.1", 3)
		equal(t, "it is not touched", nobodys.collect(1), []string{"3"})
		if f := w.bearing(w.token("ann", chat)).commands(l, `{"op":"subscribe","channel":"chat.2"}`)[0]; !f.OK {
			t.Errorf("ann herself: got %+v", f)
		}
	}, streams...)
}

func TestAnAttachmentOfAnotherSubjectIsGoneOnAnotherNode(t *testing.T) {
	near, far, _ := twoGuarded(t)
	for _, transport := range streams {
		l := far.attach(transport, helloAs(far.token("ann", chat), `"session":"s","channels":{"chat.1":{}}`))
		for who, token := range near.strangers() {
			near.touchBy(who, token, l)
		}
		anns := near.bearing(near.token("ann", chat))
		if f := anns.commands(l, `{"op":"subscribe","channel":"chat.2"}`)[0]; !f.OK {
			t.Errorf("ann herself: got %+v", f)
		}
		l.want("subscribed")
		far.publish("chat.1", 1)
		equal(t, "it is not touched", l.collect(1), []string{"1"})
		anns.commands(l, `{"op":"subscribe","channel":"news.1"}`)[0].wantError(t, "what ann is not granted", protocol.Forbidden)
		wide := near.bearing(near.token("ann", auth.Everything()))
		wide.commands(l, `{"op":"subscribe","channel":"news.1"}`)[0].wantError(t, "before the attachment has that grant", protocol.Forbidden)
		l.hangUp()
	}
}

// twoGuarded are two nodes of one log, in the real world, with the same keys.
func twoGuarded(t *testing.T) (near, far *guarded, url string) {
	t.Helper()
	return twoGuardedBy(t, nil)
}

// twoGuardedBy is twoGuarded with changed settings of who may do what.
func twoGuardedBy(t *testing.T, change func(*auth.Options)) (near, far *guarded, url string) {
	t.Helper()
	o, minter, admin := guard(t, Options{}, change)
	url = startNATS(t)
	var nodes []*guarded
	for range 2 {
		n := &guarded{serveLoopback(t, openBroker(t, broker.Options{URL: url}), o), minter, admin}
		n.key = admin
		nodes = append(nodes, n)
	}
	return nodes[0], nodes[1], url
}

// wantLimited checks that an attachment is refused by that limit, as the transport refuses, and that it is counted.
func (w *world) wantLimited(t protocol.Transport, r request, limit string) {
	w.t.Helper()
	before := w.timesRefused(limit)
	w.begin(t, r).wantCode(w.t, limit, protocol.RateLimited)
	if n := w.timesRefused(limit); n != before+1 {
		w.t.Errorf("the refusals by %s went from %v to %v, want one more", limit, before, n)
	}
}

// timesRefused is how many were counted, for who may not ask for metrics.
func (w *world) timesRefused(limit string) (n float64) {
	w.t.Helper()
	families, err := w.g.metrics.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "fairlead_refused_total" && m.GetLabel()[0].GetValue() == limit {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestAttachmentsOfASubjectAreLimited(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Limits: Limits{AttachmentsPerSub: 2}})
		rights := auth.Rights{Subscribe: []string{"a"}}
		hello := func(sub string) request {
			return attaching(helloAs(w.token(sub, rights), `"wait":0,"channels":{"a":{}}`))
		}
		first := w.attach(transport, hello("ann").body)
		defer first.hangUp()
		second := w.from(someone).attach(streams[0], hello("ann").body)
		for _, refused := range protocol.Transports() {
			w.from(another).wantLimited(refused, hello("ann"), "attachments_per_sub") // from wherever
		}
		first.wantServed()
		for _, who := range []string{"bob", "", "", ""} {
			w.attach(transport, hello(who).body).hangUp()
		}
		for range 3 {
			w.attach(transport, helloAs(w.admin, `"channels":{"a":{}}`)).hangUp()
		}
		second.hangUp()
		w.settle()
		w.attach(transport, hello("ann").body).hangUp()
		w.settle()
		if taken := w.g.door.Taken(); taken.Places != 1 || taken.OfSubjects != 1 {
			t.Errorf("taken is %+v, want ann's place only", taken)
		}
	}, streams...)
}

func TestPollsThatWaitAreAttachmentsOfTheirSubject(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{AttachmentsPerSub: 1}})
		hello := helloAs(w.token("ann", chat), `"session":"s","wait":5,"channels":{"chat.1":{}}`)
		done := make(chan answer, 1)
		go func() { done <- w.call(attaching(hello)) }()
		w.settle()
		w.wantRefused(attaching(hello), protocol.RateLimited, "attachments_per_sub")
		if a := <-done; a.status != 200 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if a := w.call(attaching(hello)); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

func TestPublishesOfASubjectAreLimited(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Limits: Limits{PublishesPerSub: 2, PublishBytesPerSub: 1000}})
		token := w.token("ann", chat)
		publish := func(token, channel, text string) request { return w.as(token, poster(channel, "text/plain", text)) }
		l := w.attach(transport, helloAs(token, `"wait":0,"channels":{"chat.1":{}}`))
		defer l.hangUp()
		l.w = w.bearing(token)
		for i := range 2 * admission.BurstSeconds {
			if a := w.call(publish(token, fmt.Sprint("chat.", i), "x")); a.status != 201 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
		after := w.wantRefused(publish(token, "chat.9", "x"), protocol.RateLimited, "publishes_per_sub")
		w.wantRefused(w.as(w.token("ann", chat), request{method: "POST", path: "/v1/publish", body: `{"channels":["chat.9"],"data":1}`}), protocol.RateLimited, "publishes_per_sub")
		w.wantRefused(w.as(token, poster("chat.9", "application/json", `[{"data":1}]`)), protocol.RateLimited, "publishes_per_sub")
		if f := (&link{w: w.bearing(token), transport: transport, conn: l.conn, read: l.read}); transport == protocol.WebSocket {
			f.want("message")
			reply := f.command(`{"op":"publish","cid":1,"channel":"chat.9","data":1}`)
			if reply.wantError(t, "a command", protocol.RateLimited); reply.RetryAfterMS == 0 {
				t.Errorf("got %s", reply.raw)
			}
		}
		for _, other := range []string{w.token("bob", chat), w.token("", chat), w.admin} {
			if a := w.call(publish(other, "chat.9", "x")); a.status != 201 {
				t.Errorf("another: got %d %s", a.status, a.body)
			}
		}
		for range 10 {
			if a := w.call(publish(w.admin, "chat.9", strings.Repeat("x", 900))); a.status != 201 {
				t.Fatalf("an origin: got %d %s", a.status, a.body)
			}
		}
		time.Sleep(after)
		if a := w.call(publish(token, "chat.9", strings.Repeat("x", 900))); a.status != 201 {
			t.Errorf("after the time it asked for: got %d %s", a.status, a.body)
		}
		time.Sleep(admission.BurstSeconds * time.Second)
		for range 2 {
			w.call(publish(token, "chat.9", strings.Repeat("x", 990)))
		}
		w.wantRefused(publish(token, "chat.9", strings.Repeat("x", 990)), protocol.RateLimited, "publish_bytes_per_sub")
	}, protocol.WebSocket, protocol.Poll)
}

func TestWhoGuessesIsSoonNotListenedTo(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{Limits: Limits{GuessesPerIP: 5}})
		rights := auth.Rights{Subscribe: []string{"a"}, Publish: []string{"a"}}
		good := attaching(helloAs(w.token("ann", rights), `"wait":0,"channels":{"a":{}}`))
		guesser, other := w.from(someone), w.from(another)
		healthy := guesser.attach(protocol.WebSocket, good.body)
		defer healthy.hangUp()
		expired := w.tokenFor("ann", rights, time.Second)
		time.Sleep(time.Second)
		for range 20 { // neither is a guess
			guesser.begin(transport, attaching(`{"channels":{"a":{}}}`)).wantCode(t, "nothing", protocol.Unauthorized)
			guesser.begin(transport, attaching(helloAs(expired, `"channels":{"a":{}}`))).wantCode(t, "expired", protocol.Expired)
		}
		for i := range 5 * admission.BurstSeconds {
			shows := []string{"garbage", "fl_garbage", w.token("ann", rights) + "x"}
			guesser.begin(transport, attaching(helloAs(shows[i%3], `"channels":{"a":{}}`))).wantCode(t, "a guess", protocol.Unauthorized)
		}
		guesser.wantLimited(transport, attaching(helloAs("garbage", `"channels":{"a":{}}`)), "guesses_per_ip")
		fresh := attaching(helloAs(w.token("ann", rights), `"wait":0,"channels":{"a":{}}`))
		guesser.wantLimited(transport, fresh, "guesses_per_ip")
		if f := guesser.begin(transport, good); f.Op != "welcome" {
			t.Errorf("a token that was seen: got %s", f.raw)
		}
		healthy.wantServed()
		if f := other.begin(transport, good); f.Op != "welcome" {
			t.Errorf("from another address: got %s", f.raw)
		}
		if f := w.begin(transport, good); f.Op != "welcome" {
			t.Errorf("from no address: got %s", f.raw)
		}
		time.Sleep(time.Second)
		if f := guesser.begin(transport, fresh); f.Op != "welcome" {
			t.Errorf("a second later: got %s", f.raw)
		}
	})
}

// Keys, tickets and tokens in every place are guesses.
func TestGuessesAreCountedWhereverTheyAreMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{GuessesPerIP: 1}})
		for i, r := range []request{
			{method: "GET", path: "/v1/attach?channel=a&ticket=tk_guess"},
			{method: "POST", path: "/v1/commands", body: `{"session":"s","token":"guess","commands":[]}`},
			{method: "GET", path: "/v1/channels/a/messages", headers: "Authorization: Bearer fl_guess"},
			{method: "GET", path: "/v1/channels/a/messages", headers: "Cookie: " + cookieName + "=guess"},
			{method: "GET", path: "/metrics", headers: "Authorization: Bearer guess"},
			{method: "POST", path: "/v1/tickets", headers: "Authorization: Bearer guess"},
		} {
			at := w.from(fmt.Sprintf("192.0.2.%d:1", i))
			for range admission.BurstSeconds {
				at.call(r).wantProblem(t, r.path, protocol.Unauthorized)
			}
			a := at.call(r)
			if a.wantProblem(t, r.path, protocol.RateLimited); a.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", r.path)
			}
		}
		at := w.from(someone)
		l := at.attach(protocol.WebSocket, helloAs(w.token("ann", chat), `"channels":{}`))
		for range admission.BurstSeconds {
			l.command(`{"op":"auth","cid":1,"token":"guess"}`).wantError(t, "auth", protocol.Unauthorized)
		}
		l.command(`{"op":"auth","cid":1,"token":"guess"}`).wantError(t, "auth", protocol.RateLimited)
		l.command(`{"op":"ping","cid":1,"channel":"chat.1"}`)
		l.hangUp()
	})
}

package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Revocation (PROTOCOL.md 2.5 and 4.7).

// revoke takes back by a request, such as `"sub":"ann"`, and returns the answer's before.
func (g *guarded) revoke(what string) time.Time {
	g.t.Helper()
	a := g.call(g.as(g.admin, request{method: "POST", path: "/v1/revoke", body: "{" + what + "}"}))
	if a.status != 200 || a.Before == 0 {
		g.t.Fatalf("revoke %s: got %d %s", what, a.status, a.body)
	}
	return time.UnixMilli(a.Before)
}

// jti is the id of a token that the minter made.
func (g *guarded) jti(token string) string {
	g.t.Helper()
	grant, err := g.g.policy.Load().auth.Verify(g.t.Context(), token)
	if err != nil {
		g.t.Fatal(err)
	}
	return grant.TokenID
}

// wantRevoked checks that the attachment ends now, as its transport ends what is unauthorized.
func (l *link) wantRevoked() {
	l.w.t.Helper()
	if f := l.want("error"); f.Code != "unauthorized" || !strings.Contains(f.Message, "revoked") {
		l.w.t.Errorf("got %s", f.raw)
	}
	if l.transport == protocol.WebSocket {
		l.wantClose(4401)
	} else if err := l.wantEnd(); !isEnd(err) {
		l.w.t.Errorf("the end: got %v", err)
	}
}

func TestARevocationEndsWhatItNamesAndNothingElse(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		for _, by := range []string{"sub", "jti", "session"} {
			w := newGuarded(t, Options{})
			token, second := w.token("ann", chat), w.token("ann", chat)
			hello := func(token, session string) string {
				return helloAs(token, `"session":"`+session+`","channels":{"chat.1":{}}`)
			}
			ann := w.attach(transport, hello(token, "s"))
			others := map[string]*link{"bob": w.attach(transport, hello(w.token("bob", chat), "s2")), "an API key": w.attach(transport, hello(w.admin, "s3"))}
			if by != "sub" {
				others["another of ann's"] = w.attach(transport, hello(second, "s4"))
			}
			began := time.Now()
			w.revoke(map[string]string{"sub": `"sub":"ann"`, "jti": `"jti":"` + w.jti(token) + `"`, "session": `"session":"s"`}[by])
			ann.wantRevoked()
			if took := time.Since(began); took != 0 {
				t.Errorf("by %s: it took %v", by, took)
			}
			w.publish("chat.1", 1)
			for who, l := range others {
				if m := l.want("message"); string(m.Data) != "1" {
					t.Errorf("by %s: %s got %s", by, who, m.raw)
				}
				l.hangUp()
			}
			w.begin(transport, attaching(hello(token, "s"))).wantCode(t, "again, by "+by, protocol.Unauthorized)
			a := w.call(w.as(token, poster("chat.1", "text/plain", "x")))
			if by == "session" {
				if a.status != 201 {
					t.Errorf("in no session: got %d %s", a.status, a.body)
				}
				a = w.call(w.as(second, commanding(`{"op":"ping"}`)))
			}
			a.wantProblem(t, "a command, by "+by, protocol.Unauthorized)
		}
	}, streams...)
}

func TestARevocationEndsPollsThatWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, by := range []string{"sub", "jti", "session"} {
			w := newGuarded(t, Options{})
			token := w.token("ann", chat)
			hello := helloAs(token, `"session":"s","wait":50,"channels":{"chat.1":{}}`)
			answers, began := make(chan answer, 1), time.Now()
			go func() { answers <- answerOf(t, w.send(attaching(hello))) }()
			synctest.Wait()
			time.Sleep(3 * time.Second)
			go w.send(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: map[string]string{"sub": `{"sub":"ann"}`, "jti": `{"jti":"` + w.jti(token) + `"}`, "session": `{"session":"s"}`}[by]}))
			(<-answers).wantProblem(t, "by "+by, protocol.Unauthorized)
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("by %s: it ended after %v", by, took)
			}
			w.call(attaching(hello)).wantProblem(t, "the next poll", protocol.Unauthorized)
			w.settle()
		}
	})
}

func TestATokenIssuedAfterARevocationIsGood(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		r := func() request {
			return attaching(helloAs(w.token("ann", chat), `"session":"s","wait":0,"welcome":true,"channels":{"chat.1":{}}`))
		}
		time.Sleep(300 * time.Millisecond)
		for _, what := range []string{`"sub":"ann"`, `"session":"s"`} {
			before, now := w.revoke(what), time.Now()
			if before.UnixMilli() != now.UnixMilli() {
				t.Errorf("%s: before is %s, want now, %s", what, before, now)
			}
			time.Sleep(600 * time.Millisecond) // iat has whole seconds: this is the second of the revocation
			w.begin(transport, r()).wantCode(t, what+": within its second", protocol.Unauthorized)
			time.Sleep(time.Until(now.Truncate(time.Second).Add(time.Second)))
			if f := w.begin(transport, r()); f.Op != "welcome" {
				t.Errorf("%s: a token of the next second: got %s", what, f.raw)
			}
		}
	})
}

func TestARevocationMayBeOfATimeBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		old := w.token("ann", chat)
		time.Sleep(time.Minute)
		between := time.Now()
		time.Sleep(time.Minute)
		later := w.token("ann", chat)
		if got := w.revoke(fmt.Sprintf(`"sub":"ann","before":%d`, between.UnixMilli())); !got.Equal(between) {
			t.Errorf("before is %s, want %s", got, between)
		}
		w.call(w.as(old, poster("chat.1", "text/plain", "x"))).wantProblem(t, "a token from before", protocol.Unauthorized)
		if a := w.call(w.as(later, poster("chat.1", "text/plain", "x"))); a.status != 201 {
			t.Errorf("a token from after: got %d %s", a.status, a.body)
		}
		w.revoke(fmt.Sprintf(`"sub":"ann","before":%d`, between.UnixMilli()-30_000)) // which is less, and takes nothing back
		w.call(w.as(old, poster("chat.1", "text/plain", "x"))).wantProblem(t, "the token from before", protocol.Unauthorized)
	})
}

func TestATokenWithoutIATIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		header, claims := object{"alg": "HS256"}, object{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "fairlead": chat}
		w.call(w.as(forge(t, header, claims, testSecret), poster("chat.1", "text/plain", "x"))).wantProblem(t, "no iat", protocol.Unauthorized)
		if a := w.call(w.as(w.token("ann", chat), poster("chat.1", "text/plain", "x"))); a.status != 201 {
			t.Errorf("with iat: got %d %s", a.status, a.body)
		}
	})
}

func TestARevocationSaysOneThingAndIsNotOfTheFuture(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		future := time.Now().Add(2 * time.Minute).UnixMilli()
		for _, body := range []string{
			``, `{}`, `[]`, `{"sub":""}`, `{"sub":"a","jti":"b"}`, `{"sub":"a","session":"b"}`, `{"jti":"a","session":"b"}`, `{"sub":1}`, `{"sub":"a\n"}`, `{"sub":" a"}`, `{"jti":"` + strings.Repeat("x", 257) + `"}`, `{"session":"a b"}`,
			fmt.Sprintf(`{"sub":"ann","before":%d}`, future), `{"sub":"ann","before":-1}`, `{"sub":"ann","before":9007199254740991}`, `{"sub":"ann","before":"now"}`,
			fmt.Sprintf(`{"sub":"ann","before":%d}`, time.Now().Unix()), fmt.Sprintf(`{"sub":"ann","before":%d}`, time.Now().Add(-w.g.policy.Load().auth.Longest()).UnixMilli()),
		} {
			w.call(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: body})).wantProblem(t, body, protocol.BadRequest)
		}
		if n := w.g.access.revoked.Len(); n != 0 {
			t.Errorf("%d revocations are kept", n)
		}
		open := newWorld(t, Options{}, broker.Options{})
		open.call(request{method: "POST", path: "/v1/revoke", body: `{"sub":"ann"}`}).wantProblem(t, "an open gateway", protocol.BadRequest)
	})
}

// PROTOCOL.md 4.7: for as long as such a token could be accepted, and no longer.
func TestARevocationEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous, a.MaxLifetime = &chat, 2*time.Minute })
		inSession := func(token string) request {
			r := request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"publish","cid":1,"channel":"chat.1","data":1}]}`}
			if token != "" {
				r = w.as(token, r)
			}
			return r
		}
		w.revoke(`"session":"s"`)
		long := w.tokenFor("ann", chat, 2*time.Minute)
		w.revoke(fmt.Sprintf(`"jti":"%s","before":%d`, w.jti(long), time.Now().Add(-time.Minute).UnixMilli())) // whenever it was issued
		for _, wait := range []time.Duration{0, 90 * time.Second, 30*time.Second - time.Second} {
			time.Sleep(wait)
			for who, token := range map[string]string{"anonymous": "", "an API key": w.admin, "the token": long} {
				w.call(inSession(token)).wantProblem(t, who, protocol.Unauthorized)
			}
			w.call(w.as(long, poster("chat.1", "text/plain", "x"))).wantProblem(t, "the token in no session", protocol.Unauthorized)
		}
		time.Sleep(time.Second)
		for who, token := range map[string]string{"anonymous": "", "an API key": w.admin} {
			if a := w.call(inSession(token)); a.status != 200 || !a.Replies[0].OK {
				t.Errorf("%s: got %d %s", who, a.status, a.body)
			}
		}
	})
}

// Nothing is kept of what no token can be any more.
func TestARevocationIsKeptAsLongAsItMatters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.MaxLifetime, a.Skew = time.Hour, time.Minute })
		kept := func() (n int) {
			_, records := w.g.access.records()
			if err := records.Watch(t.Context(), func(string, []byte) { n++ }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return n
		}
		longest := time.Hour + 2*time.Minute
		w.revoke(`"sub":"ann"`)
		w.revoke(`"session":"s"`)
		time.Sleep(longest - 5*time.Second)
		if n := kept(); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
		time.Sleep(10 * time.Second)
		if n := kept(); n != 0 {
			t.Errorf("%d records of what no token can be any more", n)
		}
	})
}

func TestARevocationOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	o, minter, admin := guard(t, Options{}, nil)
	var token string
	for run := range 2 {
		t.Run(fmt.Sprint("run ", run), func(t *testing.T) { // whose end stops the gateway and its log
			w := &guarded{newRealWorld(t, o, broker.Options{Dir: dir}), minter, admin}
			post := func(token string) answer { return w.call(w.as(token, poster("chat.1", "text/plain", "x"))) }
			if run == 0 {
				token = w.token("ann", chat)
				if a := post(token); a.status != 201 {
					t.Fatalf("got %d %s", a.status, a.body)
				}
				w.revoke(`"sub":"ann"`)
			}
			post(token).wantProblem(t, "a token from before", protocol.Unauthorized)
			if a := post(w.token("bob", chat)); a.status != 201 {
				t.Errorf("another: got %d %s", a.status, a.body)
			}
		})
	}
}

func TestARevocationReachesEveryNodeWithinASecond(t *testing.T) {
	near, far, _ := twoGuarded(t)
	for i, transport := range streams {
		ann, session := fmt.Sprint("ann", i), fmt.Sprint("s", i)
		token := far.token(ann, chat)
		l := far.attach(transport, helloAs(token, `"session":"`+session+`","channels":{"chat.1":{}}`))
		bob := far.attach(transport, helloAs(far.token("bob", chat), `"channels":{"chat.1":{}}`))
		polled := make(chan answer, 1)
		go func() {
			polled <- answerOf(t, far.send(attaching(helloAs(token, `"session":"`+session+`","wait":50,"channels":{"chat.1":{}}`))))
		}()
		began := time.Now()
		near.revoke([]string{`"sub":"` + ann + `"`, `"jti":"` + near.jti(token) + `"`, `"session":"` + session + `"`}[i])
		l.wantRevoked()
		took := time.Since(began)
		(<-polled).wantProblem(t, "a poll that waits", protocol.Unauthorized)
		t.Logf("%s: %v from the request to the end on another node", transport, took)
		if all := time.Since(began); all > time.Second {
			t.Errorf("%s: it took %v", transport, all)
		}
		for _, node := range []*guarded{near, far} {
			node.begin(transport, attaching(helloAs(token, `"session":"`+session+`","channels":{"chat.1":{}}`))).wantCode(t, "again", protocol.Unauthorized)
		}
		far.publish("chat.1", i)
		equal(t, "another's", bob.collect(1), []string{fmt.Sprint(i)})
		bob.hangUp()
	}
}

// What was verified before the revocation, and is put in use after it.
func TestARevocationInTheMomentOfUseIsNotMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		verified := func(token string) *auth.Grant {
			grant, err := w.g.identify(t.Context(), client{}, credential{text: token}, "s")
			if err != nil {
				t.Fatal(err)
			}
			return grant
		}
		begin := func(grant *auth.Grant) *attachment {
			a, err := w.g.attach(t.Context(), overSSE, &protocol.Hello{Session: "s"}, client{grant: grant})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(a.detach)
			return a
		}
		first, second := w.token("ann", chat), w.token("ann", chat)
		grants := []*auth.Grant{verified(first), verified(second)}
		renewed := begin(grants[0])
		w.revoke(`"jti":"` + w.jti(second) + `"`)
		if renewed.ended() {
			t.Fatal("it was not revoked")
		}
		if _, err := renewed.renew(grants[1]); err != nil || !renewed.ended() {
			t.Errorf("a renewal by what was revoked meanwhile: got %v, and it goes on: %v", err, !renewed.ended())
		}
		if begun := begin(grants[1]); !begun.ended() {
			t.Error("what was attached by what was revoked meanwhile goes on")
		}
	})
}

// What is published after it does not reach a client that was slow to read what came before.
func TestNothingIsDeliveredAfterARevocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		l := w.attach(protocol.WebSocket, helloAs(w.token("ann", chat), `"channels":{"chat.1":{}}`))
		w.publish("chat.1", `"before"`) // which is being written, to a client that does not read
		w.revoke(`"sub":"ann"`)
		w.publish("chat.1", `"after"`)
		time.Sleep(closeTimeout / 2)
		for {
			f, err := l.read()
			if err != nil {
				break
			}
			if f.Op == "message" && string(f.Data) != `"before"` {
				t.Errorf("got %s", f.raw)
			}
		}
		slow := w.attach(protocol.WebSocket, helloAs(w.token("bob", chat), `"channels":{"chat.1":{}}`))
		w.publish("chat.1", `"before"`)
		w.revoke(`"sub":"bob"`)
		time.Sleep(closeTimeout + time.Second)
		if n, err := slow.conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came after it was cut off", n)
		}
	})
}

// A key that was stolen signs whatever its thief likes, also without a sub.
func TestAllTokensCanBeRevoked(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		var polled <-chan answer
		key := w.attach(protocol.SSE, helloAs(w.admin, `"channels":{"chat.1":{}}`))
		var l *link
		if transport == protocol.Poll {
			polled = w.waiting(helloAs(w.token("", chat), `"session":"p","wait":50,"channels":{"chat.1":{}}`))
		} else {
			l = w.attach(transport, helloAs(w.token("", chat), `"channels":{"chat.1":{}}`))
			defer l.hangUp()
		}
		w.revoke(`"all":true`)
		if l != nil {
			if f := l.want("error"); f.Code != "unauthorized" {
				t.Errorf("got %s", f.raw)
			}
		} else {
			(<-polled).wantProblem(t, "a poll", protocol.Unauthorized)
		}
		w.publish("chat.1", 1)
		if got := key.collect(1); got[0] != "1" { // an API key is no token
			t.Errorf("got %v", got)
		}
		key.hangUp()
		time.Sleep(time.Second)
		if a := w.call(w.as(w.token("ann", chat), poster("chat.1", "text/plain", "x"))); a.status != 201 {
			t.Errorf("a token issued later: got %d %s", a.status, a.body)
		}
	})
}

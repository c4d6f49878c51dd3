package gateway

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// What a grant covers, and that nothing else is done (PROTOCOL.md 2.5).

// publishing are all ways to publish to a channel with a request.
func publishing(channel string) map[string]request {
	post := func(media, body string) request { return poster(channel, media, body) }
	return map[string]request{
		"raw": post("text/plain", "1"), "JSON": post("application/json", `{"data":1}`), "an array": post("application/json", `[{"data":1},{"data":2}]`),
		"NDJSON": post(protocol.MediaStream, "{\"data\":1}\n{\"data\":2}\n"), "SSE": post(protocol.MediaSSE, "data: 1\n\n"),
		"fan-out": {method: "POST", path: "/v1/publish", body: `{"channels":["` + channel + `"],"data":1}`},
	}
}

// reading are all ways to read a channel with a request.
func reading(channel string) map[string]request {
	return map[string]request{
		"history": {method: "GET", path: "/v1/channels/" + channel + "/messages"},
		"a poll":  {method: "GET", path: "/v1/attach?wait=0&channel=" + channel},
	}
}

// commanding is a request with a command.
func commanding(command string) request {
	return request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[` + command + `]}`}
}

func commandsFor(channel string) []string {
	return []string{`{"op":"publish","cid":1,"data":1,"channel":"` + channel + `"}`, `{"op":"history","cid":1,"channel":"` + channel + `"}`}
}

var notChat = []string{"news.1", "chat", "chat.1.2", "chats.1"}

func TestARequestDoesWhatItsGrantCoversAndNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		both, soon := w.token("ann", chat), w.tokenFor("ann", auth.Everything(), time.Second)
		time.Sleep(time.Second)
		for what, r := range publishing("chat.1") {
			if a := w.call(w.as(both, r)); a.status != 201 {
				t.Errorf("%s: got %d %s", what, a.status, a.body)
			}
		}
		for what, r := range reading("chat.1") {
			if a := w.call(w.as(both, r)); a.status != 200 {
				t.Errorf("%s: got %d %s", what, a.status, a.body)
			}
		}
		head := w.broker.Head()
		reader, writer := w.token("ann", auth.Rights{Subscribe: []string{">"}}), w.token("ann", auth.Rights{Publish: []string{">"}})
		refused := func(what, token string, code protocol.Code, requests map[string]request) {
			t.Helper()
			for how, r := range requests {
				if token != "" {
					r = w.as(token, r)
				}
				w.call(r).wantProblem(t, what+", by "+how, code)
			}
		}
		for _, channel := range notChat {
			refused("publish to "+channel, both, protocol.Forbidden, publishing(channel))
			refused("read "+channel, both, protocol.Forbidden, reading(channel))
		}
		for what, requests := range map[string]map[string]request{"publish": publishing("chat.1"), "read": reading("chat.1")} {
			refused(what+" with nothing", "", protocol.Unauthorized, requests)
			refused(what+" with what has expired", soon, protocol.Expired, requests)
		}
		refused("publish with the right to read", reader, protocol.Forbidden, publishing("chat.1"))
		refused("read with the right to publish", writer, protocol.Forbidden, reading("chat.1"))
		some := request{method: "POST", path: "/v1/publish", body: `{"channels":["chat.1","news.1"],"data":1}`}
		w.call(w.as(both, some)).wantProblem(t, "a fan-out of which one is not granted", protocol.Forbidden)
		if now := w.broker.Head(); now != head {
			t.Errorf("something was stored: the log was at %s and is at %s", head, now)
		}
	})
}

func TestACommandDoesWhatItsGrantCoversAndNothingElse(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		command := func(text string) frame { return w.call(w.as(token, commanding(text))).Replies[0] }
		if transport == protocol.WebSocket {
			command = w.attach(transport, helloAs(token, `"channels":{}`)).command
		}
		for _, text := range commandsFor("chat.1") {
			if f := command(text); !f.OK {
				t.Errorf("%s: got %+v", text, f)
			}
		}
		w.settle()
		head := w.broker.Head()
		for _, channel := range notChat {
			for _, text := range commandsFor(channel) {
				command(text).wantError(t, text, protocol.Forbidden)
			}
		}
		w.settle()
		if now := w.broker.Head(); now != head {
			t.Errorf("something was stored: the log was at %s and is at %s", head, now)
		}
		w.call(commanding(`{"op":"ping"}`)).wantProblem(t, "a command with nothing", protocol.Unauthorized)
	}, protocol.WebSocket, protocol.Poll)
}

func TestASubscribeThatIsNotGrantedChangesNothing(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		l := w.attach(transport, helloAs(token, `"channels":{"chat.1":{}}`))
		defer l.hangUp()
		l.w = w.bearing(token)
		for _, pattern := range append(slices.Clone(notChat), ">", "chat.>", "*", "*.1", "chat.*.1", "*.*") {
			l.command(`{"op":"subscribe","cid":1,"after":"0","channel":"`+pattern+`"}`).wantError(t, pattern, protocol.Forbidden)
		}
		if f := l.w.commands(l, `{"op":"subscribe","channel":"chat.*"}`)[0]; !f.OK {
			t.Errorf("all that is granted: got %+v", f)
		}
		w.publish("news.1", 1)
		w.publish("chat.1.2", 2)
		w.publish("chat.2", 3)
		if f := l.want("subscribed"); f.Channel != "chat.*" {
			t.Errorf("got %s", f.raw)
		}
		equal(t, "what came", l.collect(1), []string{"3"})
	}, streams...)
}

// `a` in the token may be a pattern: what it covers is all that it can match.
func TestAPatternIsGrantedIfAllThatItMatchesIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		for granted, patterns := range map[string]map[string]bool{
			"chat.>": {">": false, "chat.>": true, "chat.*": true, "chat.*.>": true, "chat.1": true, "chat": false, "*.1": false},
			"chat.1": {"chat.1": true, "chat.*": false, "chat.>": false, ">": false},
			">":      {">": true, "*": true, "a.b.c": true},
			"*.1":    {"*.1": true, "a.1": true, "*.*": false, ">": false},
		} {
			token := w.token("ann", auth.Rights{Subscribe: []string{granted}})
			for pattern, may := range patterns {
				f := w.begin(protocol.Poll, attaching(helloAs(token, `"wait":0,"channels":{"`+pattern+`":{}}`)))
				if may != (f.Op == "welcome") {
					t.Errorf("%s where %s is granted: got %s", pattern, granted, f.raw)
				}
			}
		}
	})
}

func TestAHelloOfWhichSomeIsGrantedIsServedThat(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		w.publish("chat.1", 1)
		w.publish("news.1", 2)
		w.publish("chat.2", 3)
		began := time.Now()
		l := w.attach(transport, helloAs(w.token("ann", chat), `"channels":{"chat.1":{"after":"0"},"chat.2":{"after":"0"},"news.1":{"after":"0"},">":{"after":"0"}}`))
		defer l.hangUp()
		if len(l.welcome.Channels) != 2 || l.welcome.Channels["chat.1"].After == "" || l.welcome.Channels["chat.2"].After == "" {
			t.Errorf("got %s", l.welcome.raw)
		}
		ended := []string{}
		for range 2 {
			f := l.want("unsubscribed")
			if ended = append(ended, f.Channel); f.Code != "forbidden" || !strings.Contains(f.Message, f.Channel) {
				t.Errorf("got %s", f.raw)
			}
		}
		slices.Sort(ended)
		equal(t, "what is not served", ended, []string{">", "news.1"})
		equal(t, "what is served", l.collect(2), []string{"1", "3"})
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		if transport != protocol.Poll {
			w.publish("news.1", 4)
			w.publish("chat.2", 5)
			equal(t, "what is served later", l.collect(1), []string{"5"})
		}
	})
}

// The client is to leave out what it was refused: it does not have to wait for that.
func TestAPollOfWhichSomeIsGrantedAnswersAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		began := time.Now()
		a := w.call(attaching(helloAs(w.token("ann", chat), `"session":"s","wait":20,"channels":{"chat.1":{},"news.1":{}}`)))
		if took := time.Since(began); took != 0 || len(a.Frames) != 1 || parseFrame(t, a.Frames[0]).Op != "unsubscribed" {
			t.Errorf("got %s after %v", a.body, took)
		}
	})
}

func TestAHelloOfWhichNothingIsGrantedIsRefused(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		for _, channels := range []string{`"news.1":{}`, `">":{}`, `"news.1":{},">":{},"chat.>":{}`} {
			w.begin(transport, attaching(helloAs(token, `"channels":{`+channels+`}`))).wantCode(t, channels, protocol.Forbidden)
		}
		if f := w.begin(transport, attaching(helloAs(token, `"wait":0,"channels":{}`))); f.Op != "welcome" {
			t.Errorf("without channels: got %s", f.raw)
		}
		w.begin(transport, attaching(`{"channels":{"chat.1":{}}}`)).wantCode(t, "nothing", protocol.Unauthorized)
		soon := w.tokenFor("ann", chat, time.Second)
		time.Sleep(time.Second)
		w.begin(transport, attaching(helloAs(soon, `"channels":{"chat.1":{}}`))).wantCode(t, "too late", protocol.Expired)
		w.settle()
		if n := w.g.door.Taken().Places; n != 0 {
			t.Errorf("%d places are taken", n)
		}
	})
}

func TestToManageChannelsNeedsAnAPIKeyThatMay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		chatKey, plainKey := auth.NewAPIKey(), auth.NewAPIKey()
		w := newGuardedBy(t, Options{}, func(a *auth.Options) {
			a.APIKeys = append(a.APIKeys,
				auth.APIKey{Name: "chat", Hash: auth.HashAPIKey(chatKey), Manage: []string{"chat.*"}},
				auth.APIKey{Name: "plain", Hash: auth.HashAPIKey(plainKey), Rights: auth.Everything()})
		})
		w.publish("chat.1", 1)
		w.publish("news.1", 2)
		purge := func(channel string) request {
			return request{method: "DELETE", path: "/v1/channels/" + channel + "/messages"}
		}
		revoke := request{method: "POST", path: "/v1/revoke", body: `{"sub":"ann"}`}
		token := w.token("ann", auth.Everything())
		for who, c := range map[string]struct {
			key  string
			code protocol.Code
		}{"a token": {token, protocol.Forbidden}, "a key without the right": {plainKey, protocol.Forbidden}, "nothing": {"", protocol.Unauthorized}} {
			for _, r := range []request{purge("chat.1"), purge("news.1"), revoke} {
				if c.key != "" {
					r = w.as(c.key, r)
				}
				w.call(r).wantProblem(t, who+": "+r.path, c.code)
			}
		}
		w.call(w.as(chatKey, purge("news.1"))).wantProblem(t, "another channel", protocol.Forbidden)
		w.call(w.as(chatKey, revoke)).wantProblem(t, "who may manage some", protocol.Forbidden)
		w.call(w.as(chatKey, poster("chat.1", "text/plain", "x"))).wantProblem(t, "to manage is not to publish", protocol.Forbidden)
		equal(t, "all is there", append(w.history("chat.1"), w.history("news.1")...), []string{"1", "2"})
		if a := w.call(w.as(chatKey, purge("chat.1"))); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if a := w.call(w.as(w.admin, purge("news.1"))); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if got := append(w.history("chat.1"), w.history("news.1")...); len(got) != 0 {
			t.Errorf("purged, there are %v", got)
		}
		if a := w.call(w.as(token, poster("chat.1", "text/plain", "x"))); a.status != 201 {
			t.Errorf("a revocation that was refused was carried out: %d %s", a.status, a.body)
		}
	})
}

func TestWhoShowsNothingHasTheAnonymousGrant(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		l := w.attach(transport, `{"channels":{"chat.1":{},"news.1":{}}}`)
		defer l.hangUp()
		if f := l.want("unsubscribed"); f.Channel != "news.1" || l.welcome.ExpiresIn != 0 {
			t.Errorf("got %s, %s", l.welcome.raw, f.raw)
		}
		if transport != protocol.Poll {
			l.command(`{"op":"subscribe","cid":1,"channel":">"}`).wantError(t, "everything", protocol.Forbidden)
		}
		if a := w.call(poster("chat.1", "text/plain", "x")); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if transport == protocol.Poll {
			l = w.open(transport, `{"session":"s","channels":{"chat.1":{"after":"`+l.cursor+`"}}}`)
		}
		if m := l.want("message"); m.From != "" || strings.Contains(string(m.raw), "from") {
			t.Errorf("got %s", m.raw)
		}
		w.call(poster("news.1", "text/plain", "x")).wantProblem(t, "what is not granted", protocol.Forbidden)
		w.call(request{method: "DELETE", path: "/v1/channels/chat.1/messages"}).wantProblem(t, "a purge", protocol.Forbidden)
		// A token that is no good is not as good as none.
		expired := w.tokenFor("ann", auth.Everything(), time.Second)
		time.Sleep(time.Second)
		for token, code := range map[string]protocol.Code{"garbage": protocol.Unauthorized, expired: protocol.Expired, "fl_garbage": protocol.Unauthorized} {
			for i, s := range []shown{{hello: token}, {header: token}, {cookie: token}} {
				w.begin(transport, s.request(transport)).wantCode(t, fmt.Sprint(token, " in place ", i), code)
			}
		}
		w.begin(transport, shown{ticket: "tk_garbage"}.request(transport)).wantCode(t, "no ticket", protocol.Unauthorized)
	})
}

// Who may not publish need not send what would not be stored.
func TestAPublishThatIsNotGrantedIsRefusedBeforeItsBodyIsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		for _, media := range []string{"text/plain", "application/json", protocol.MediaStream, protocol.MediaSSE} {
			for channel, code := range map[string]protocol.Code{"news.1": protocol.Forbidden, "chat.1": protocol.Unauthorized} {
				r := poster(channel, media, "")
				if code == protocol.Forbidden {
					r = w.as(token, r)
				}
				body, in := io.Pipe() // of which nothing comes
				r.stream = body
				began := time.Now()
				response := w.send(r)
				if took := time.Since(began); took != 0 {
					t.Errorf("%s: it took %v", media, took)
				}
				answerOf(t, response).wantProblem(t, media, code)
				_ = in.Close()
			}
		}
	})
}

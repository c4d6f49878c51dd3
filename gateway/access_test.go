package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Where a token is taken from (PROTOCOL.md 2.5).

// shown is what who attaches shows.
type shown struct{ hello, header, ticket, cookie string }

func (s shown) request(t protocol.Transport) request {
	r := attaching(`{"wait":0,"channels":{"chat.1":{}}}`)
	if s.hello != "" {
		r.body = helloAs(s.hello, `"wait":0,"channels":{"chat.1":{}}`)
	}
	if s.header != "" {
		r.headers += "Authorization: Bearer " + s.header + "\n"
	}
	if s.cookie != "" {
		r.headers += "Cookie: a=1; " + cookieName + "=" + s.cookie + "\n"
	}
	if s.ticket != "" {
		r.path += "?ticket=" + s.ticket
		if t != protocol.WebSocket { // whose GET may have a hello
			r.method, r.path, r.body = "GET", r.path+"&wait=0&channel=chat.1", ""
		}
	}
	return r
}

func TestATokenIsTakenFromTheFirstPlaceThatHasOne(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		lasting := func(hours time.Duration) string { return w.tokenFor("ann", chat, hours*time.Hour) }
		hello, header, ticket, cookie := lasting(1), lasting(2), func() string { return w.issue(lasting(3)) }, lasting(4)
		const garbage, noTicket = "garbage", "tk_garbage"
		for i, c := range []struct {
			shown
			hours int64 // 0: refused
		}{
			{shown{hello, header, "", cookie}, 1},
			{shown{hello, garbage, "", garbage}, 1},
			{shown{"", header, "", garbage}, 2},
			{shown{"", header, ticket(), cookie}, 3},
			{shown{"", garbage, ticket(), cookie}, 3},
			{shown{"", "", ticket(), cookie}, 3},
			{shown{"", "", ticket(), garbage}, 3},
			{shown{"", "", "", cookie}, 4},
			{shown{garbage, header, "", cookie}, 0},
			{shown{"", garbage, "", cookie}, 0},
			{shown{"", header, noTicket, cookie}, 0},
			{shown{"", "", "", garbage}, 0},
			{shown{}, 0},
		} {
			f := w.begin(transport, c.request(transport))
			if c.hours == 0 {
				f.wantCode(t, fmt.Sprint("case ", i), protocol.Unauthorized)
			} else if f.ExpiresIn != c.hours*time.Hour.Milliseconds() {
				t.Errorf("case %d: got %s, want what expires in %d h", i, f.raw, c.hours)
			}
		}
		if transport == protocol.WebSocket {
			once := shown{hello, "", ticket(), ""}.request(transport)
			if f := w.begin(transport, once); f.ExpiresIn != 3*time.Hour.Milliseconds() {
				t.Errorf("a ticket beside a hello: got %s", f.raw)
			}
			w.begin(transport, once).wantCode(t, "the same ticket, beside a good hello", protocol.Unauthorized)
		}
	})
}

func TestATokenOfCommandsIsTakenFromTheBodyFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		publish := `"session":"s","commands":[{"op":"publish","channel":"chat.1","data":1}]`
		commands := func(s shown) request {
			r := s.request(protocol.Poll)
			r.path, r.body = "/v1/commands", "{"+publish+"}"
			if s.hello != "" {
				r.body = helloAs(s.hello, publish)
			}
			return r
		}
		for _, s := range []shown{
			{w.token("ann", chat), "garbage", "", "garbage"}, {w.token("ann", chat), w.token("bob", chat), "", w.token("bob", chat)},
			{"", w.token("ann", chat), "", "garbage"}, {"", "", "", w.token("ann", chat)},
		} {
			if a := w.call(commands(s)); a.status != 200 || !a.Replies[0].OK {
				t.Errorf("%+v: got %d %s", s, a.status, a.body)
			}
		}
		for _, s := range []shown{{"garbage", w.admin, "", w.admin}, {"", "garbage", "", w.admin}, {"", "", "", "garbage"}, {}} {
			w.call(commands(s)).wantProblem(t, fmt.Sprintf("%+v", s), protocol.Unauthorized)
		}
		for _, m := range w.call(w.keyed(request{method: "GET", path: "/v1/channels/chat.1/messages"})).Messages {
			if m.From != "ann" {
				t.Errorf("got a message from %q", m.From)
			}
		}
		if n := len(w.history("chat.1")); n != 4 {
			t.Errorf("%d messages were stored, want 4", n)
		}
	})
}

func TestTheAuthorizationHeaderIsReadAsRFC9110Says(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		token := w.token("ann", chat)
		cookie := "\nCookie: " + cookieName + "=" + token
		for headers, good := range map[string]bool{
			"Authorization: Bearer " + token:                                      true,
			"Authorization: bearer " + token:                                      true,
			"Authorization: BEARER   " + token:                                    true,
			"Authorization: Basic dTpw" + cookie:                                  true, // a proxy's
			"Authorization: Basic dTpw\nAuthorization: Bearer " + token:           true,
			"Authorization: Negotiate x" + cookie:                                 true,
			"Authorization: Basic dTpw":                                           false,
			"Authorization: " + token:                                             false,
			"Authorization: Bearer" + token:                                       false,
			"Authorization: Token " + token:                                       false,
			"Authorization: Bearer " + token + " " + token:                        false,
			"Authorization: Bearer x\nAuthorization: Bearer " + token:             false,
			"Authorization: Bearer " + strings.Repeat("x", 9<<10):                 false,
			"Proxy-Authorization: Bearer " + token:                                false,
			"X-Authorization: Bearer " + token:                                    false,
			"Cookie: fairlead=" + token + "; __Secure-fairlead=" + token:          false,
			"Cookie: " + cookieName + "=x; " + cookieName + "=" + token:           false, // the first is of the longest path
			"Fairlead-Token: " + token + "\nX-Api-Key: " + token + "\nTicket: tk": false,
		} {
			r := request{method: "GET", path: "/v1/channels/chat.1/messages", headers: headers}
			if a := w.call(r); good != (a.status == 200) {
				t.Errorf("%.60s: got %d %s", headers, a.status, a.body)
			} else if !good {
				a.wantProblem(t, headers, protocol.Unauthorized)
			}
		}
	})
}

// everyRoute are requests for all that is under /v1, with what they need.
func everyRoute() []request {
	return []request{
		{method: "GET", path: "/v1/attach?channel=a&wait=0"},
		{method: "GET", path: "/v1/attach?channel=a", headers: "Accept: text/event-stream"},
		{method: "GET", path: "/v1/attach?channel=a", headers: "Accept: application/x-ndjson"},
		{method: "POST", path: "/v1/attach?", body: aHello},
		{method: "POST", path: "/v1/commands?", body: `{"session":"s","commands":[{"op":"publish","channel":"a","data":1}]}`},
		{method: "POST", path: "/v1/channels/a/messages?", body: "x"},
		{method: "POST", path: "/v1/channels/a/messages?", headers: "Content-Type: text/event-stream", body: "data: 1\n\n"},
		{method: "GET", path: "/v1/channels/a/messages?limit=1"},
		{method: "DELETE", path: "/v1/channels/a/messages?"},
		{method: "POST", path: "/v1/publish?", body: `{"channels":["a"],"data":1}`},
		{method: "POST", path: "/v1/tickets?"},
		{method: "POST", path: "/v1/revoke?", body: `{"sub":"ann"}`},
		{method: "GET", path: "/v1/ping?"},
		{method: "GET", path: "/v1/client.js?"},
		{method: "GET", path: "/v1/nothing?"},
	}
}

func TestATokenInAURLIsRefusedOnEveryRoute(t *testing.T) {
	for _, open := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			if open {
				w.world = newWorld(t, Options{}, broker.Options{})
			}
			token := w.token("ann", auth.Everything())
			for _, name := range []string{"token", "access_token", "Token", "ACCESS_TOKEN", "id_token", "jwt", "authorization", "auth", "bearer", "api_key", "apikey", "ticket"} {
				for _, r := range everyRoute() {
					r.path += "&" + name + "=" + token
					a := w.call(w.as(w.admin, r))
					a.wantProblem(t, name+": "+fmt.Sprintf("%s %.20s", r.method, r.path), protocol.BadRequest)
					if !strings.Contains(a.Detail, "URL") || !strings.Contains(a.Detail, "Authorization header") {
						t.Errorf("the answer does not say why: %s", a.Detail)
					}
					w.wantUntold(name, a.body, token)
				}
			}
			for what, query := range map[string]string{"an empty one": "token=", "without a value": "token", "behind a semicolon": "a=1;token=" + token, "cut": "token=" + token + "%zz", "in capitals by number": "%54oken=" + token, "an API key as ticket": "ticket=" + w.admin, "a second ticket": "ticket=tk_x&ticket=" + token,
				"as a name": token, "as a name with a value": token + "=1", "as in a header": "x=Bearer%20" + token, "in quotes": "x=%22" + token + "%22"} {
				for _, r := range everyRoute() {
					r.path += "&" + query
					a := w.call(w.as(w.admin, r))
					a.wantProblem(t, what+": "+fmt.Sprintf("%s %.20s", r.method, r.path), protocol.BadRequest)
					w.wantUntold(what, a.body, token)
				}
			}
			if head := w.broker.Head(); head.Seq != 0 {
				t.Errorf("something was stored: the log is at %s", head)
			}
		})
	}
}

func TestWhatIsNoTicketIsRefusedAsOne(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		r := w.as(w.token("ann", chat), request{method: "GET", path: "/v1/attach?channel=chat.1&wait=0&ticket="})
		if f := w.begin(transport, r); f.Op != "welcome" {
			t.Errorf("an empty one: got %s", f.raw)
		}
		r.path += "garbage"
		if transport == protocol.WebSocket {
			w.rawCall(rawHandshakeTo(r)).wantProblem(t, "a handshake", protocol.BadRequest)
		} else {
			w.begin(transport, r).wantCode(t, "garbage", protocol.BadRequest)
		}
	})
}

// A page cannot send a header with a WebSocket, but it can read that.
func TestAWebSocketWithATokenInItsURLIsNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		a := w.rawCall(strings.Replace(handshakeText, "/v1/attach", "/v1/attach?token="+w.token("ann", chat), 1) + "\r\n")
		a.wantProblem(t, "a handshake", protocol.BadRequest)
		w.wantUntold("a handshake", a.body, w.token("ann", chat))
	})
}

func TestMetricsAreForAPIKeysUnlessTheGatewayIsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		get := request{method: "GET", path: "/metrics"}
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &auth.Rights{Subscribe: []string{">"}} })
		w.call(get).wantProblem(t, "nobody", protocol.Forbidden)
		w.call(w.as(w.token("ann", auth.Everything()), get)).wantProblem(t, "a token", protocol.Forbidden)
		w.call(w.as("fl_x", get)).wantProblem(t, "another key", protocol.Unauthorized)
		if a := w.call(w.as(w.admin, get)); a.status != 200 || !strings.Contains(a.body, "fairlead_info") {
			t.Errorf("an API key: got %d %.200s", a.status, a.body)
		}
		if a := newWorld(t, Options{}, broker.Options{}).call(get); a.status != 200 || !strings.Contains(a.body, "fairlead_info") {
			t.Errorf("an open gateway: got %d %.200s", a.status, a.body)
		}
		w = newGuarded(t, Options{})
		w.call(get).wantProblem(t, "nobody, who is nobody", protocol.Unauthorized)
		for _, path := range []string{"/healthz", "/readyz", "/v1/ping", "/v1/client.js", "/", "/doctor"} {
			if response := w.send(request{method: "GET", path: path}); response.StatusCode != 200 {
				t.Errorf("%s, which is for everybody: got %s", path, response.Status)
			}
		}
	})
}

// RFC 6750, section 3.
func TestAChallengeSaysWhatIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		get := request{method: "GET", path: "/v1/channels/news.1/messages"}
		for what, c := range map[string]struct {
			r         request
			challenge string
		}{
			"nothing":     {get, `Bearer realm="fairlead"`},
			"a bad token": {w.as("x", get), `Bearer realm="fairlead", error="invalid_token", error_description="`},
			"not granted": {w.as(w.token("ann", chat), get), `Bearer realm="fairlead", error="insufficient_scope"`},
		} {
			got := w.call(c.r).header.Get("WWW-Authenticate")
			if !strings.HasPrefix(got, c.challenge) || what == "nothing" && got != c.challenge {
				t.Errorf("%s: WWW-Authenticate is %q, want %q", what, got, c.challenge)
			}
		}
	})
}

func TestARefusalSaysWhatWouldHelp(t *testing.T) {
	for source, want := range map[auth.Source]string{
		auth.FromToken:  "the token does not grant publishing to a: ask whoever makes it",
		auth.FromAPIKey: "the API key does not grant publishing to a: its entry in the file of auth.api_keys says what it may do",
		auth.FromNobody: "without a token nothing grants publishing to a: show one, such as in the Authorization header",
	} {
		err := mayPublish(&auth.Grant{Source: source}, "a")
		if e := protocol.ErrorFrom(err); e.Code != protocol.Forbidden || e.Message != want {
			t.Errorf("%s: got %v", source, err)
		}
	}
}

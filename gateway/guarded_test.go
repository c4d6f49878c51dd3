package gateway

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// guarded is a world whose gateway has keys.
type guarded struct {
	*world
	minter *auth.Minter
	admin  string // an API key that may do everything
}

var testSecret = bytes.Repeat([]byte("0123456789abcdef"), 2)

// guard gives options keys: a secret, with no skew, and an API key.
func guard(t testing.TB, o Options, change func(*auth.Options)) (Options, *auth.Minter, string) {
	t.Helper()
	key, err := auth.SecretKey("", testSecret)
	if err != nil {
		t.Fatal(err)
	}
	admin := auth.NewAPIKey()
	a := auth.Options{
		Keys: []auth.Key{key}, Skew: -1,
		APIKeys: []auth.APIKey{{Name: "admin", Hash: auth.HashAPIKey(admin), Rights: auth.Everything(), Manage: []string{">"}}},
	}
	if change != nil {
		change(&a)
	}
	v, err := auth.NewVerifier(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	minter, err := auth.NewMinter(key, a.Issuer, "")
	if err != nil {
		t.Fatal(err)
	}
	o.Auth = v
	return o, minter, admin
}

// newGuarded is newWorld with keys.
func newGuarded(t testing.TB, o Options) *guarded {
	t.Helper()
	return newGuardedBy(t, o, nil)
}

// newGuardedBy is newGuarded with changed settings of who may do what.
func newGuardedBy(t testing.TB, o Options, change func(*auth.Options)) *guarded {
	t.Helper()
	o, minter, admin := guard(t, o, change)
	w := &guarded{newWorld(t, o, broker.Options{}), minter, admin}
	w.key = admin
	return w
}

// token is one of sub's that grants what is said, for an hour.
func (g *guarded) token(sub string, r auth.Rights) string { return g.tokenFor(sub, r, time.Hour) }

func (g *guarded) tokenFor(sub string, r auth.Rights, lifetime time.Duration) string {
	g.t.Helper()
	token, err := g.minter.Mint(sub, r, lifetime)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// helloAs is a hello with a token.
func helloAs(token, fields string) string { return `{"token":"` + token + `",` + fields + `}` }

func (g *guarded) as(token string, r request) request {
	r.headers += "\nAuthorization: Bearer " + token
	return r
}

// bearing is a client that shows a token with every request.
func (g *guarded) bearing(token string) *world {
	at := *g.world
	at.client = &http.Client{Transport: bearer{g.client.Transport, token}}
	return &at
}

// bearer sends a token with requests that have none.
type bearer struct {
	http.RoundTripper

	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}

// begin attaches by r, whose body, if it has one, is the hello, and returns the
// first frame: the welcome, or the error, which is checked to come as the
// transport's errors do. The attachment ends.
func (w *world) begin(t protocol.Transport, r request) frame {
	w.t.Helper()
	if t == protocol.WebSocket {
		l := w.dialWebSocketWith(r.path, r.headers)
		defer l.hangUp()
		if r.body != "" {
			l.sendText(strings.Replace(r.body, "{", `{"op":"hello",`, 1))
		}
		f := l.next()
		if f.Op == "error" {
			l.wantClose(protocol.Code(f.Code).CloseCode())
		}
		return f
	}
	r.headers += "\nAccept: " + acceptOf(t)
	response := w.send(r)
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != 200 {
		a := answerOf(w.t, response)
		a.wantProblem(w.t, "a refusal by "+string(t), protocol.Code(a.Code))
		return frame{Op: "error", Code: a.Code, Message: a.Detail, raw: []byte(a.body)}
	}
	var f frame
	var err error
	switch body := bufio.NewReader(response.Body); t {
	case protocol.SSE:
		f, err = readEvent(w.t, body)
	case protocol.Stream:
		f, err = readLine(w.t, body)
	default:
		f = parseFrame(w.t, answerOf(w.t, response).Frames[0])
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// attaching is a POST with a hello.
func attaching(hello string) request { return request{method: "POST", path: "/v1/attach", body: hello} }

// wantCode checks that a frame is an error with that code.
func (f frame) wantCode(t testing.TB, what string, code protocol.Code) {
	t.Helper()
	if f.Op != "error" || f.Code != string(code) || f.Message == "" {
		t.Errorf("%s: got %s, want the error %s", what, f.raw, code)
	}
}

// issue is a ticket for what a token grants.
func (g *guarded) issue(token string) string {
	g.t.Helper()
	a := g.call(g.as(token, request{method: "POST", path: "/v1/tickets"}))
	if a.status != 201 || !strings.HasPrefix(a.Ticket, "tk_") || a.ExpiresIn != 30_000 {
		g.t.Fatalf("ask for a ticket: got %d %s", a.status, a.body)
	}
	return a.Ticket
}

var chat = auth.Rights{Subscribe: []string{"chat.*"}, Publish: []string{"chat.*"}}

func TestAMessageIsFromWhomItsTokenNames(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		ann, bob := w.token("ann", chat), w.token("bob", chat)
		l := w.attach(transport, helloAs(ann, `"channels":{"chat.1":{}}`))
		defer l.hangUp()
		if l.welcome.ExpiresIn != time.Hour.Milliseconds() {
			t.Errorf("expires in %d", l.welcome.ExpiresIn)
		}
		post := poster("chat.1", "application/json", `{"data":1,"from":"ann","sub":"ann"}`)
		post.headers += "\nFairlead-From: ann\nFrom: ann"
		if a := w.call(w.as(bob, post)); a.status != 201 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		if transport == protocol.Poll {
			l = w.open(transport, helloAs(ann, `"session":"s","channels":{"chat.1":{"after":"`+l.cursor+`"}}`))
		}
		if m := l.want("message"); m.From != "bob" {
			t.Errorf("the message is from %q", m.From)
		}
		w.call(poster("chat.1", "text/plain", "no")).wantProblem(t, "without a token", protocol.Unauthorized)
		w.call(w.as(bob, poster("news.1", "text/plain", "no"))).wantProblem(t, "elsewhere", protocol.Forbidden)
	})
}

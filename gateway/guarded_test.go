package gateway

import (
	"bytes"
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
	o, minter, admin := guard(t, o, nil)
	return &guarded{newWorld(t, o, broker.Options{}), minter, admin}
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

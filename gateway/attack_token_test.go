package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// publicKey is an RSA key as its owner hands it to everybody.
var publicKey = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
})

type object = map[string]any

// forge is a token of a header and claims, or of either as it stands, signed
// with a secret by HS256 whatever the header says, or not at all.
func forge(t testing.TB, header, claims any, secret []byte) string {
	t.Helper()
	part := func(v any) string {
		text, raw := v.(string)
		if !raw {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	signed := part(header) + "." + part(claims)
	if secret == nil {
		return signed + "."
	}
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// forgery is a token that is no good.
type forgery struct {
	token string
	code  protocol.Code
}

// forgeries are tokens that would grant everything if anybody took them, and good
// is what they are made from, which does.
func forgeries(t testing.TB, admin string) (all map[string]forgery, good string) {
	now := time.Now()
	hs256 := object{"alg": "HS256", "typ": "JWT"}
	claims := func(changes object) object {
		c := object{"iss": "me", "aud": "here", "sub": "ann", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "fairlead": auth.Everything()}
		maps.Copy(c, changes)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return c
	}
	good = forge(t, hs256, claims(nil), testSecret)
	deep := func(n int) string { return strings.Repeat("[", n) }
	all = map[string]forgery{
		"expired":           {forge(t, hs256, claims(object{"exp": now.Unix()}), testSecret), protocol.Expired},
		"expired long ago":  {forge(t, hs256, claims(object{"exp": 1}), testSecret), protocol.Expired},
		"changed":           {forge(t, hs256, claims(object{"sub": "bob"}), nil) + good[strings.LastIndexByte(good, '.')+1:], protocol.Unauthorized},
		"a key of its hash": {"fl_" + auth.HashAPIKey(admin), protocol.Unauthorized},
		"most of a key":     {admin[:len(admin)-1], protocol.Unauthorized},
		"two tokens":        {good + "." + good, protocol.Unauthorized},
		"10^5 levels":       {strings.Repeat("[", 100_000), protocol.Unauthorized},
	}
	for name, header := range map[string]object{
		"alg none": {"alg": "none"}, "alg None": {"alg": "None", "typ": "JWT"}, "no alg": {"typ": "JWT"}, "a list of algs": {"alg": []string{"HS256", "none"}},
		"another alg": {"alg": "HS512"}, "key confusion": {"alg": "RS256"}, "a critical extension": {"alg": "HS256", "crit": []string{"b64"}, "b64": false},
		"a key of its own": {"alg": "HS256", "jwk": object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(testSecret)}}, "another kind": {"alg": "HS256", "typ": "logout+jwt"},
	} {
		secret := testSecret
		if name == "a key of its own" {
			secret = []byte(strings.Repeat("mine", 8))
		}
		all[name] = forgery{forge(t, header, claims(nil), secret), protocol.Unauthorized}
		all[name+", unsigned"] = forgery{forge(t, header, claims(nil), nil), protocol.Unauthorized}
	}
	for name, secret := range map[string][]byte{"": publicKey(), " without its line break": []byte(strings.TrimSpace(string(publicKey()))), " that is empty": {}} {
		all["the public key as secret"+name] = forgery{forge(t, hs256, claims(nil), secret), protocol.Unauthorized}
	}
	for name, changes := range map[string]object{
		"not yet valid": {"nbf": now.Add(time.Minute).Unix()}, "issued in the future": {"iat": now.Add(time.Minute).Unix()}, "without an end": {"exp": nil}, "without a beginning": {"iat": nil}, "good for ever": {"exp": 1 << 40},
		"wrong audience": {"aud": "elsewhere"}, "no audience": {"aud": nil}, "wrong issuer": {"iss": "you"}, "no issuer": {"iss": nil}, "rights that are none": {"fairlead": object{"subscribe": []string{"a..b"}}},
		"a sub with a line break": {"sub": "ann\r\nFairlead-From: bob"}, "a sub with NUL": {"sub": "a\x00"}, "a sub with NEL": {"sub": "a\u0085b"}, "a sub that is not text": {"sub": object{}},
	} {
		all[name] = forgery{forge(t, hs256, claims(changes), testSecret), protocol.Unauthorized}
	}
	for name, n := range map[string]int{"deep": 5000, "10^5 levels deep": 100_000} { // the one is as large as may be
		all["claims that are "+name] = forgery{forge(t, hs256, `{"exp":9999999999,"x":`+deep(n), testSecret), protocol.Unauthorized}
		all["a header that is "+name] = forgery{forge(t, `{"alg":"HS256","x":`+deep(n), claims(nil), testSecret), protocol.Unauthorized}
		all["a right that is "+name] = forgery{forge(t, hs256, `{"exp":9999999999,"fairlead":{"subscribe":`+deep(n), testSecret), protocol.Unauthorized}
	}
	return all, good
}

// newStrict is a guarded world with keys of two kinds that believes one issuer, for one audience.
func newStrict(t *testing.T) *guarded {
	t.Helper()
	o, _, admin := guard(t, Options{Limits: Limits{Header: 1 << 20}}, func(a *auth.Options) { // so that it is the token that is refused
		public, err := auth.PEMKeys(publicKey())
		if err != nil {
			t.Fatal(err)
		}
		a.Keys, a.Issuer, a.Audience = append(a.Keys, public...), "me", []string{"here"}
	})
	minter, err := auth.NewMinter(mustSecret(t), "me", "here")
	if err != nil {
		t.Fatal(err)
	}
	return &guarded{newWorld(t, o, broker.Options{}), minter, admin}
}

func mustSecret(t *testing.T) auth.Key {
	t.Helper()
	key, err := auth.SecretKey("", testSecret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// healthy is an attachment to the channel a, with a token.
func (g *guarded) healthy() *link {
	g.t.Helper()
	l := g.attach(protocol.WebSocket, helloAs(g.token("healthy", auth.Rights{Subscribe: []string{"a"}}), `"channels":{"a":{}}`))
	l.want("proof")
	return l
}

// wantNoAttach checks that who attaches so is refused with that code.
func (w *world) wantNoAttach(transport protocol.Transport, what, token string, inHeader bool, code protocol.Code) {
	w.t.Helper()
	r := request{method: "POST", path: "/v1/attach", headers: "Accept: " + acceptOf(transport), body: helloAs(token, aChannels)}
	if inHeader {
		r.headers, r.body = r.headers+"\nAuthorization: Bearer "+token, aHello
	}
	if transport != protocol.WebSocket {
		a := w.call(r)
		a.wantProblem(w.t, what, code)
		if challenge := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer realm="fairlead", error="invalid_token"`) {
			w.t.Errorf("%s: WWW-Authenticate is %q", what, challenge)
		}
		w.wantUntold(what, a.body+a.header.Get("WWW-Authenticate"), token)
		return
	}
	l := w.dialWebSocketWith("/v1/attach", strings.TrimPrefix(r.headers, "Accept: "))
	l.sendText(strings.Replace(r.body, "{", `{"op":"hello",`, 1))
	f := l.want("error")
	if f.Code != string(code) {
		w.t.Errorf("%s: got %s, want %s", what, f.raw, code)
	}
	w.wantUntold(what, string(f.raw), token)
	l.wantClose(code.CloseCode())
}

const aChannels = `"channels":{"a":{}}`

// acceptOf is the Accept that asks for a transport.
func acceptOf(t protocol.Transport) string {
	switch t {
	case protocol.SSE:
		return protocol.MediaSSE
	case protocol.Stream:
		return protocol.MediaStream
	default:
		return protocol.MediaJSON
	}
}

// wantUntold checks that no part of a token is in a text.
func (w *world) wantUntold(what, text, token string) {
	w.t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 16 && strings.Contains(text, part) {
			w.t.Errorf("%s: the answer holds a part of the token: %s", what, text)
		}
	}
}

// RFC 8725, over every transport. auth's own tests have more of it.
func TestForgedTokensAttachNobody(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newStrict(t)
		healthy := w.healthy()
		defer healthy.hangUp()
		all, good := forgeries(t, w.admin)
		healthy.withstands(func() {
			for name, f := range all {
				w.wantNoAttach(transport, name+" in hello", f.token, false, f.code)
				w.wantNoAttach(transport, name+" in the header", f.token, true, f.code)
			}
		})
		w.attach(transport, helloAs(good, aChannels)).hangUp() // so it was not the rest of them
		if strings.Contains(w.logs.String(), "eyJ") {
			t.Errorf("a token is in the log: %s", w.logs)
		}
	})
}

// What is no good for attaching is no good for anything else, either, and changes nothing.
func TestForgedTokensDoNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newStrict(t)
		healthy := w.healthy()
		defer healthy.hangUp()
		w.publish("a", `"kept"`)
		healthy.want("message")
		healthy.withstands(func() {
			head := w.broker.Head()
			all, _ := forgeries(t, w.admin)
			for name, f := range all {
				for _, r := range []request{
					poster("a", "text/plain", "x"), poster("a", "application/json", `[{"data":1}]`), poster("a", protocol.MediaStream, `{"data":1}`), poster("a", protocol.MediaSSE, "data: 1\n\n"),
					{method: "POST", path: "/v1/publish", body: `{"channels":["a"],"data":1}`}, {method: "GET", path: "/v1/channels/a/messages"}, {method: "DELETE", path: "/v1/channels/a/messages"},
					{method: "POST", path: "/v1/tickets"}, {method: "POST", path: "/v1/revoke", body: `{"sub":"healthy"}`}, {method: "GET", path: "/metrics"},
					{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"publish","channel":"a","data":1}]}`},
				} {
					a := w.call(w.as(f.token, r))
					a.wantProblem(t, name+": "+r.method+" "+r.path, f.code)
					w.wantUntold(name, a.body, f.token)
				}
				r := request{method: "POST", path: "/v1/commands", body: helloAs(f.token, `"session":"s","commands":[{"op":"publish","channel":"a","data":1}]`)}
				w.call(r).wantProblem(t, name+": a token of commands", f.code)
				healthy.sendText(`{"op":"auth","cid":1,"token":"` + f.token + `"}`)
				if reply := healthy.want("reply"); reply.Error.Code != string(f.code) {
					t.Errorf("%s: auth got %s", name, reply.raw)
				}
			}
			if now := w.broker.Head(); now != head {
				t.Errorf("the log was at %s and is at %s", head, now)
			}
		})
	})
}

package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/fairlead/fairlead/protocol"
)

// fixedPairs are keys that every process of a fuzzer has: what one signed is good in the others.
func fixedPairs(f *testing.F) (keys []Key) {
	seed := []byte(strings.Repeat("s", 32))
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
	if err != nil {
		f.Fatal(err)
	}
	for _, material := range []any{seed, ed25519.NewKeyFromSeed(seed), ec} {
		k, err := newKey("", "", material)
		if err != nil {
			f.Fatal(err)
		}
		keys = append(keys, named(k, string(k.Algorithm)))
	}
	return keys
}

// Whatever comes as a token, nobody gets in with what no key signed, and the
// answer is an error that a client may see.
func FuzzToken(f *testing.F) {
	keys := fixedPairs(f)
	signed := map[string]bool{}
	payload, _ := json.Marshal(good(object{"exp": 9999999999}))
	for _, k := range keys {
		token := sign(f, k, payload, object{"typ": "JWT"})
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		f.Add(token)
		f.Add(forge(`{"alg":"`+string(k.Algorithm)+`"}`, string(payload), make([]byte, 64)))
	}
	f.Add(forge(`{"alg":"none"}`, string(payload), nil))
	f.Add(forge(`{"alg":"HS256","crit":["b64"],"b64":false,"jwk":{"kty":"oct","k":"AA"}}`, "{}", nil))
	f.Add("fl_x")
	v := verifier(f, Options{Keys: keys, APIKeys: []APIKey{{Name: "a", Hash: HashAPIKey(NewAPIKey())}}, MaxLifetime: math.MaxInt64, CacheSize: 1})
	f.Fuzz(func(t *testing.T, token string) {
		g, err := v.Verify(t.Context(), token)
		if err == nil {
			if end := strings.LastIndexByte(token, '.'); end < 0 || !signed[token[:end]] {
				t.Fatalf("got in with %q: %+v", token, g)
			}
			return
		}
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Unauthorized && e.Code != protocol.Expired {
			t.Fatalf("got %v", err)
		} else if Challenge(e) == "" {
			t.Fatal("got no challenge")
		}
	})
}

// Whatever an issuer signs, a grant is within bounds.
func FuzzClaims(f *testing.F) {
	for _, claims := range []object{good(nil), good(object{"exp": 1}), good(object{"aud": []string{"x"}, "iss": "y", "nbf": 1.5, "iat": 1e9, "jti": "z"})} {
		payload, _ := json.Marshal(claims)
		f.Add(payload)
	}
	for _, payload := range []string{`{"exp":1e300}`, `{"exp":9999999999,"exp":1}`, `{"fairlead":{"subscribe":[">","a..b",null]}}`, strings.Repeat("[", 5000), "null"} {
		f.Add([]byte(payload))
	}
	k := fixedPairs(f)[0]
	v := verifier(f, Options{Keys: []Key{k}, MaxLifetime: math.MaxInt64, CacheSize: 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		now := time.Now()
		g, err := v.Verify(t.Context(), sign(t, k, payload, nil))
		if err != nil {
			if _, ok := errors.AsType[*protocol.Error](err); !ok {
				t.Fatalf("got %v", err)
			}
			return
		}
		if g.Rights.Check() != nil || !isName(g.Subject) || !isName(g.TokenID) || g.Expires.Before(now) {
			t.Fatalf("got %+v", g)
		}
		if _, err := json.Marshal(g); err != nil { // as a ticket's record
			t.Fatal(err)
		}
	})
}

// Whatever an issuer serves, its keys are for checking only, and within bounds.
func FuzzKeySet(f *testing.F) {
	i := &issuer{}
	i.serve(named(pairs()[RS256], "r"), named(pairs()[ES256], "e"), named(pairs()[EdDSA], "d"))
	f.Add([]byte(i.body))
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pairs()[EdDSA].private}}}) // an issuer's mistake
	if err != nil {
		f.Fatal(err)
	}
	f.Add(private)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseSet(body)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatalf("got %d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if k.Algorithm == HS256 || k.private != nil {
				t.Fatalf("got %v", k)
			}
		}
	})
}

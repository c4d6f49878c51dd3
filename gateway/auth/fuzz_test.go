package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"slices"
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
	payload, _ := json.Marshal(good(object{"iat": 1e9, "exp": 9999999999})) // the same in every process
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

// Whatever is in a file, what comes of it is a key that checks what it signs, or an error that holds none of it.
func FuzzPEM(f *testing.F) {
	for _, algorithm := range []Algorithm{EdDSA, ES256, RS256} {
		k := pairs()[algorithm]
		f.Add(publicPEM(f, k))
		f.Add(slices.Concat(privatePEM(f, k), publicPEM(f, k), []byte("\ntext\n"), privatePEM(f, pairs()[EdDSA])))
	}
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := PEMKeys(file)
		if (err == nil) != (len(keys) > 0) || len(keys) > strings.Count(string(file), "-----BEGIN ") {
			t.Fatalf("got %d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			checkKey(t, k, err)
		}
		if k, err := SecretKey("k", file); err == nil && (k.Algorithm != HS256 || strings.Contains(string(file), "-----BEGIN ")) {
			t.Fatalf("%q is the secret %v", file, k)
		}
	})
}

func FuzzJWK(f *testing.F) {
	for _, k := range pairs() {
		for _, material := range []any{k.public, k.private} {
			document, err := json.Marshal(jose.JSONWebKey{Key: material, KeyID: "k"})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(document)
		}
	}
	f.Add([]byte(`{"kty":"oct","k":"","alg":"none"}`))
	f.Add([]byte(`{"kty":"oct","k":"c2hvcnQ"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-521","x":"AA","y":"AA","use":"enc"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		k, err := JWKKey(document)
		checkKey(t, k, err)
	})
}

// checkKey checks that a key, if there is one, is within bounds, shows nothing, and checks what it signs.
func checkKey(t *testing.T, k Key, err error) {
	t.Helper()
	if err != nil {
		return
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Count(shown, "key") != 4 || strings.Contains(shown, "0x") {
		t.Fatalf("it is shown as %s", shown)
	}
	switch public := k.public.(type) {
	case []byte:
		if k.Algorithm != HS256 || len(public) < minSecretBytes {
			t.Fatalf("got %v of %d bytes", k, len(public))
		}
	case *rsa.PublicKey:
		if k.Algorithm != RS256 || public.N.BitLen() < minRSABits || public.N.BitLen() > maxRSABits {
			t.Fatalf("got %v of %d bits", k, public.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if k.Algorithm != ES256 || public.Curve != elliptic.P256() {
			t.Fatalf("got %v of another curve", k)
		}
	case ed25519.PublicKey:
		if k.Algorithm != EdDSA || len(public) != ed25519.PublicKeySize {
			t.Fatalf("got %v of %d bytes", k, len(public))
		}
	default:
		t.Fatalf("got %v, a %T", k, public)
	}
	v, err := NewVerifier(Options{Keys: []Key{k}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Verify(t.Context(), forge(`{"alg":"`+string(k.Algorithm)+`"}`, `{"exp":9999999999}`, make([]byte, 64))); err == nil {
		t.Fatal("nobody signed it, and it got in")
	}
}

func privatePEM(t testing.TB, k Key) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Whatever a store gives back, a ticket is redeemed for a grant that is good now, or for nothing.
func FuzzTicket(f *testing.F) {
	record, err := json.Marshal(ticket{&Grant{Rights: Everything(), Subject: "ann", Expires: time.Unix(9999999999, 0)}, time.Unix(9999999999, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("tk_ABC", string(record))
	f.Add("tk_ABC", `{"grant":{"expires":"0001-01-01T00:00:00Z"},"until":"9999-01-01T00:00:00Z"}`)
	f.Add("tk_ABC", `{"grant":{"expires":"2001-01-01T00:00:00Z"},"until":"9999-01-01T00:00:00Z"}`)
	f.Add("tk_ABC", `{"grant":{},"until":"2001-01-01T00:00:00Z"}`)
	f.Add("x", "null")
	f.Fuzz(func(t *testing.T, id, record string) {
		g, err := (&Tickets{Store: brokenStore{record}}).Redeem(t.Context(), id)
		if err == nil && (g == nil || !strings.HasPrefix(id, ticketPrefix) || g.Check(time.Now()) != nil) {
			t.Fatalf("%q is redeemed for %+v", id, g)
		}
		if err != nil && g != nil {
			t.Fatalf("got %+v and %v", g, err)
		}
	})
}

// A pattern that is granted matches no channel that is not.
func FuzzGranted(f *testing.F) {
	f.Add("chat.* news.>", "chat.*", "chat.1")
	f.Add("* *.* *.*.>", ">", "a.b.c.d")
	f.Add("a.b a.>", "a.*.>", "a.b.c")
	f.Add("a.* b.>", "a.>", "a.b.c")
	f.Fuzz(func(t *testing.T, granted, pattern, channel string) {
		r := Rights{Subscribe: strings.Fields(granted)}
		if r.Check() != nil || protocol.CheckPattern(pattern) != nil || protocol.CheckChannel(channel) != nil {
			return
		}
		g := &Grant{Rights: r}
		if !matches(strings.Split(pattern, "."), strings.Split(channel, ".")) {
			return
		}
		one := slices.ContainsFunc(r.Subscribe, func(p string) bool { return matches(strings.Split(p, "."), strings.Split(channel, ".")) })
		if g.MaySubscribe(channel) != one {
			t.Errorf("%q grants %s: %v, want %v", granted, channel, !one, one)
		}
		if g.MaySubscribe(pattern) && !one {
			t.Errorf("%q grants %s, and with it %s", granted, pattern, channel)
		}
	})
}

// matches tells whether a pattern matches a channel, token by token (PROTOCOL.md 1.1).
func matches(pattern, channel []string) bool {
	switch {
	case len(pattern) == 0 || len(channel) == 0:
		return len(pattern) == len(channel)
	case pattern[0] == ">" && len(pattern) == 1:
		return true
	default:
		return (pattern[0] == "*" || pattern[0] == channel[0]) && matches(pattern[1:], channel[1:])
	}
}

// What was revoked is refused, whatever else is revoked beside it.
func FuzzRevoked(f *testing.F) {
	f.Add("ann", "", "", "ann", "7f0c", "s1")
	f.Add("", "7f0c", "", "bob", "7f0c", "s2")
	f.Add("", "", "s1", "", "", "s1")
	f.Fuzz(func(t *testing.T, sub, jti, session, mySub, myID, mySession string) {
		now := time.Now()
		s := &Revoked{}
		err := s.Add(Revocation{Subject: sub, TokenID: jti, Session: session, At: now})
		mine := sub != "" && sub == mySub || jti != "" && jti == myID || session != "" && session == mySession
		refused := s.Check(&Grant{Source: FromToken, Subject: mySub, TokenID: myID, Issued: now.Add(-time.Second)}, mySession) != nil
		if refused != (mine && err == nil) {
			t.Errorf("(%q %q %q), %v: (%q %q %q) is refused: %v", sub, jti, session, err, mySub, myID, mySession, refused)
		}
	})
}

package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/fairlead/fairlead/protocol"
)

// pairs are keys for each algorithm, made once: RSA takes its time.
var pairs = sync.OnceValue(func() map[Algorithm]Key {
	_, ed, _ := ed25519.GenerateKey(nil)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	made := map[Algorithm]Key{}
	for algorithm, material := range map[Algorithm]any{EdDSA: ed, ES256: ec, RS256: rs, HS256: secret} {
		k, err := newKey("", algorithm, material)
		if err != nil {
			panic(err)
		}
		made[algorithm] = k
	}
	return made
})

// named is k with an id.
func named(k Key, id string) Key {
	k.ID = id
	return k
}

func verifier(t testing.TB, options Options) *Verifier {
	t.Helper()
	v, err := NewVerifier(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

type object = map[string]any

// good are the claims of a token that is good for an hour.
func good(changes object) object {
	c := object{"sub": "ann", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "fairlead": object{"subscribe": []string{"chat.*"}}}
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// sign is a token of the claims, or of a payload as it stands, with the header's fields besides alg and kid.
func sign(t testing.TB, k Key, claims any, header object) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if k.ID != "" {
		options = options.WithHeader("kid", k.ID)
	}
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: k.private}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, raw := claims.([]byte)
	if !raw {
		if payload, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forge is a token of parts as they stand.
func forge(header, payload string, signature []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64([]byte(payload)) + "." + b64(signature)
}

// mustRefuse checks that the token is refused with the code, that the message
// says what it should, and that nothing in it gives the token away.
func mustRefuse(t testing.TB, v *Verifier, token string, code protocol.Code, says string) {
	t.Helper()
	g, err := v.Verify(t.Context(), token)
	if err == nil {
		t.Fatalf("got the grant %+v, want %s", g, code)
	}
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, says) {
		t.Errorf("got %v, want %s with %q", err, code, says)
	}
	leaks(t, err, token)
}

// leaks checks that an error holds no part of a token that somebody could use.
func leaks(t testing.TB, err error, token string) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 16 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %v", err)
		}
	}
}

func mustGrant(t testing.TB, v *Verifier, token string) *Grant {
	t.Helper()
	g, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// publicPEM is the public part of a key.
func publicPEM(t testing.TB, k Key) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

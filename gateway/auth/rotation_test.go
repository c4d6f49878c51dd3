package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// What becomes of tokens while an issuer changes its keys, whatever others send meanwhile.

// mustPutOff checks that the token is unavailable, and returns for how long.
func mustPutOff(t *testing.T, v *Verifier, token string) time.Duration {
	t.Helper()
	mustRefuse(t, v, token, protocol.Unavailable, "try again")
	_, err := v.Verify(t.Context(), token)
	wait := protocol.ErrorFrom(err).RetryAfter
	if wait <= 0 || wait > fetchApart {
		t.Errorf("got Retry-After %v, want one of at most %v", wait, fetchApart)
	}
	return wait
}

func TestAKeyThatIsNewSinceTheLastFetchIsPutOff(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	for what, arm := range map[string]func(t *testing.T, v *Verifier){
		"an unknown kid": func(t *testing.T, v *Verifier) {
			mustRefuse(t, v, sign(t, named(a, "x"), ours(), nil), protocol.Unauthorized, "no key")
		},
		"a periodic fetch": func(*testing.T, *Verifier) { time.Sleep(fetchEvery - 8*time.Second) },
	} {
		t.Run(what, func(t *testing.T) {
			withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
				mustGrant(t, v, sign(t, a, ours(), nil))
				time.Sleep(9 * time.Second)
				arm(t, v)
				i.fetched()
				time.Sleep(time.Second)
				i.serve(a, b)
				token := sign(t, b, ours(), nil)
				wait := mustPutOff(t, v, token)
				if n := i.fetched(); n != 0 {
					t.Errorf("got %d fetches, want none yet", n)
				}
				time.Sleep(wait)
				mustGrant(t, v, token)
				if n := i.fetched(); n != 1 {
					t.Errorf("got %d fetches, want 1", n)
				}
			}, a)
		})
	}
}

// A flood of unknown kids takes each fetch that may be made.
func TestAFloodOfUnknownKeyIDsKeepsNobodyOut(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		flood := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				_, _ = v.Verify(t.Context(), sign(t, named(a, "x"), ours(), nil))
			}
		}
		flood(12500 * time.Millisecond)
		i.serve(a, b)
		honest, wrong := sign(t, b, ours(), nil), sign(t, named(a, "y"), ours(), nil)
		wait := max(mustPutOff(t, v, honest), mustPutOff(t, v, wrong))
		i.fetched()
		flood(wait + 500*time.Millisecond)
		mustGrant(t, v, honest)
		mustRefuse(t, v, wrong, protocol.Unauthorized, "kid") // whose owner must not try for ever
		if n := i.fetched(); n != 1 {
			t.Errorf("got %d fetches, want 1", n)
		}
	}, a)
}

// What an issuer answers may be older than a token that comes while it is on its way.
func TestAKeyThatIsNewSinceTheFetchBeganIsPutOff(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		i.set(func() { i.takes = 2 * time.Second })
		time.Sleep(fetchEvery + time.Second)
		i.serve(a, b)
		token := sign(t, b, ours(), nil)
		time.Sleep(mustPutOff(t, v, token))
		mustGrant(t, v, token)
	}, a)
}

// A key set that anybody can fetch holds no secret.
func TestASecretIsNotAskedFor(t *testing.T) {
	a := named(pairs()[ES256], "a")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		time.Sleep(time.Minute)
		i.fetched()
		for range 2 {
			mustRefuse(t, v, sign(t, pairs()[HS256], ours(), nil), protocol.Unauthorized, "no key")
		}
		if n := i.fetched(); n != 0 {
			t.Errorf("got %d fetches, want none", n)
		}
	}, a)
}

func TestTokensThatWereShownAreForgotten(t *testing.T) {
	withIssuer(t, Options{}, func(t *testing.T, _ *issuer, v *Verifier) {
		for n := range maxShown + 10 {
			v.jwks.firstShown(sha256.Sum256([]byte(strconv.Itoa(n))))
		}
		if n := v.jwks.shown.Len(); n != maxShown {
			t.Errorf("%d are remembered, want %d", n, maxShown)
		}
	}, named(pairs()[ES256], "a"))
}

// The commonest mistakes of who sets up keys: the answer says where to look.
func TestASignatureThatFitsNoKeySaysWhatToLookAt(t *testing.T) {
	other, err := SecretKey("", []byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	secret, edwards := pairs()[HS256], pairs()[EdDSA]
	v := verifier(t, Options{Keys: []Key{secret, edwards, named(pairs()[RS256], "r")}})
	for _, id := range []string{"", "k1"} {
		mustRefuse(t, v, sign(t, named(other, id), good(nil), nil), protocol.Unauthorized, "fits no HS256 key that is known here: sign it with the server's secret, which is the text")
		forged := forge(`{"alg":"EdDSA","kid":"`+id+`"}`, "{}", make([]byte, 64))
		mustRefuse(t, v, forged, protocol.Unauthorized, "fits no EdDSA key that is known here: sign it with the private key")
		mustRefuse(t, v, sign(t, named(pairs()[ES256], id), good(nil), nil), protocol.Unauthorized, "check its kid and alg")
	}
	mustRefuse(t, v, forge(`{"alg":"RS256","kid":"k1"}`, "{}", make([]byte, 256)), protocol.Unauthorized, "check its kid and alg")
	mustRefuse(t, v, forge(`{"alg":"RS256","kid":"r"}`, "{}", make([]byte, 256)), protocol.Unauthorized, "signature is wrong")
}

// What counts is whether the key is there now, however old the answer is.
func TestAKeyThatComesByAFetchUnderWayIsGood(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		i.serve(a, b)
		i.set(func() { i.takes = 2 * time.Second })
		time.Sleep(fetchEvery + time.Second)
		mustGrant(t, v, sign(t, b, ours(), nil))
	}, a)
}

func TestAKeyWithoutAnIDIsFollowedByAnotherOfItsAlgorithm(t *testing.T) {
	material, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newKey("", ES256, material)
	if err != nil {
		t.Fatal(err)
	}
	a := pairs()[ES256]
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		time.Sleep(time.Minute)
		i.serve(b)
		mustGrant(t, v, sign(t, b, ours(), nil))
	}, a)
}

package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/fairlead/fairlead/protocol"
)

// An issuer is who serves a key set, on the other side of a RoundTripper.
type issuer struct {
	mu      sync.Mutex
	body    string
	status  int
	takes   time.Duration
	down    bool
	fetches int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.fetches++
	answer := &http.Response{StatusCode: i.status, Status: http.StatusText(i.status), Body: io.NopCloser(strings.NewReader(i.body)), Header: http.Header{}, Request: r}
	takes, down := i.takes, i.down
	i.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	return answer, nil
}

// serve serves the keys from now on.
func (i *issuer) serve(keys ...Key) {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"})
	}
	body, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	i.set(func() { i.body, i.status, i.down, i.takes = string(body), 200, false, 0 })
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// fetched is how often the set was asked for since it was last called.
func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.fetches
	i.fetches = 0
	return n
}

// withIssuer runs a test in a bubble, with a verifier of what the issuer signs.
func withIssuer(t *testing.T, options Options, test func(t *testing.T, i *issuer, v *Verifier), keys ...Key) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(keys...)
		test(t, i, i.verifier(t, options))
	})
}

func (i *issuer) verifier(t *testing.T, options Options) *Verifier {
	options.JWKS, options.Transport, options.Issuer = "https://issuer.example/keys?secret=hunter2", i, "me"
	return verifier(t, options)
}

func ours() object { return good(object{"iss": "me"}) }

func TestKeysComeFromTheIssuer(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil)) // waits for the first fetch
		for range 100 {
			mustGrant(t, v, sign(t, b, ours(), nil))
		}
		if n := i.fetched(); n != 1 {
			t.Errorf("got %d fetches, want 1", n)
		}
		time.Sleep(time.Hour + time.Second)
		if n := i.fetched(); n != 6 {
			t.Errorf("got %d fetches in an hour, want 6", n)
		}
	}, a, b)
}

func TestANewKeyIsAskedForAtOnce(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		old := sign(t, a, ours(), nil)
		first := mustGrant(t, v, old)
		time.Sleep(time.Minute)
		if mustGrant(t, v, old) != first {
			t.Error("a token seen is looked at again")
		}
		i.serve(a, b)
		mustGrant(t, v, sign(t, b, ours(), nil))
		if n := i.fetched(); n != 2 {
			t.Errorf("got %d fetches, want 2", n)
		}
		// The same set, however often it is fetched, is no reason to look at tokens again.
		second := mustGrant(t, v, old)
		time.Sleep(30 * time.Minute)
		if mustGrant(t, v, old) != second {
			t.Error("a token seen is looked at again")
		}
		// A key that is gone is gone for tokens seen, too.
		i.serve(b)
		time.Sleep(11 * time.Minute)
		mustRefuse(t, v, old, protocol.Unauthorized, "no key")
	}, a)
}

// Without a kid nobody can tell a new key's token from garbage.
func TestANewKeyIsAskedForWithoutAnID(t *testing.T) {
	a, b := pairs()[ES256], pairs()[RS256]
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		time.Sleep(time.Minute)
		i.serve(b)
		mustGrant(t, v, sign(t, b, ours(), nil))
	}, a)
}

func TestUnknownKeyIDsCostOneFetchInFiveSeconds(t *testing.T) {
	a := named(pairs()[ES256], "a")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		time.Sleep(9 * time.Second)
		i.fetched()
		i.set(func() { i.takes = time.Second })
		var group sync.WaitGroup
		for n := range 200 {
			group.Go(func() {
				mustRefuse(t, v, sign(t, named(pairs()[EdDSA], string(rune('b'+n))), ours(), nil), protocol.Unauthorized, "no key")
			})
		}
		group.Wait()
		for range 200 {
			mustRefuse(t, v, sign(t, named(a, "x"), ours(), nil), protocol.Unavailable, "try again")
		}
		if n := i.fetched(); n != 1 {
			t.Errorf("got %d fetches, want 1", n)
		}
		time.Sleep(6 * time.Second)
		mustRefuse(t, v, sign(t, named(a, "x"), ours(), nil), protocol.Unauthorized, "no key")
		if n := i.fetched(); n != 1 {
			t.Errorf("got %d fetches, want 1", n)
		}
	}, a)
}

func TestAnIssuerThatIsDown(t *testing.T) {
	a, b, here := named(pairs()[ES256], "a"), named(pairs()[RS256], "b"), named(pairs()[EdDSA], "here")
	withIssuer(t, Options{Keys: []Key{here}}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		i.set(func() { i.down = true })
		time.Sleep(12 * time.Minute)
		i.fetched()

		// What is known goes on; what is not is put off, not refused.
		mustGrant(t, v, sign(t, a, ours(), nil))
		mustGrant(t, v, sign(t, here, ours(), nil))
		fresh := sign(t, b, ours(), nil)
		mustRefuse(t, v, fresh, protocol.Unavailable, "try again")
		_, err := v.Verify(t.Context(), fresh)
		if wait := protocol.ErrorFrom(err).RetryAfter; wait < time.Second || wait > fetchBackoffs {
			t.Errorf("got Retry-After %v", wait)
		}
		time.Sleep(10 * time.Hour)
		for range 100 {
			mustRefuse(t, v, fresh, protocol.Unavailable, "try again")
		}
		if n := i.fetched(); n < 10*12 || n > 10*12*2+10 {
			t.Errorf("got %d fetches in ten hours, want one in 2.5 to 5 minutes", n)
		}

		i.serve(a, b)
		time.Sleep(fetchBackoffs)
		mustGrant(t, v, sign(t, b, ours(), nil))

		// Keys are not believed for ever if nobody can take them back.
		i.set(func() { i.down = true })
		time.Sleep(25 * time.Hour)
		mustRefuse(t, v, sign(t, a, ours(), nil), protocol.Unavailable, "try again")
		mustGrant(t, v, sign(t, here, ours(), nil))
	}, a)
}

// A reload must not need an issuer that is out of reach just then.
func TestASuccessorBeginsWithTheKeysThatWereFetched(t *testing.T) {
	a := named(pairs()[ES256], "a")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		token := func() string { return sign(t, a, ours(), nil) }
		mustGrant(t, v, token())
		time.Sleep(time.Hour)
		i.set(func() { i.down = true })
		options := v.options
		options.APIKeys = []APIKey{{Name: "k", Hash: HashAPIKey(NewAPIKey())}}
		next := successor(t, v, options)
		v.Close()
		mustGrant(t, next, token())
		time.Sleep(keptFor - fetchEvery - time.Minute)
		mustGrant(t, next, token())
		time.Sleep(fetchEvery + fetchBackoffs + 2*time.Minute) // it counts from the fetch
		mustRefuse(t, next, token(), protocol.Unavailable, "try again")

		i.serve(a)
		time.Sleep(fetchBackoffs)
		mustGrant(t, next, token())
		i.set(func() { i.down = true })
		options.JWKS = "https://other.example/keys"
		mustRefuse(t, successor(t, next, options), token(), protocol.Unavailable, "try again")
		options.JWKS, options.Keys = v.options.JWKS, []Key{named(pairs()[ES256], "a")} // which is in the set as well
		again := successor(t, next, options)
		mustGrant(t, again, token())
		if again.jwks.last.Load() != nil {
			t.Error("the set is in use though two keys have the same name")
		}
	}, a)
}

func successor(t *testing.T, v *Verifier, options Options) *Verifier {
	t.Helper()
	next, err := v.Successor(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	return next
}

func TestFailuresAreSpacedMoreAndMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{down: true}
		v := i.verifier(t, Options{})
		mustRefuse(t, v, sign(t, pairs()[ES256], ours(), nil), protocol.Unavailable, "try again") // waits for the first fetch
		for n, most := range []int{6, 3, 3} {                                                     // in the first 20 seconds, then 40, then 80
			time.Sleep(20 * time.Second << n)
			if got := i.fetched(); got < 1 || got > most {
				t.Errorf("got %d fetches, want 1 to %d", got, most)
			}
		}
	})
}

func TestASlowIssuerHoldsUpOnlyWhoNeedsIt(t *testing.T) {
	a, b := named(pairs()[ES256], "a"), named(pairs()[RS256], "b")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		known := sign(t, a, ours(), nil)
		mustGrant(t, v, known)
		time.Sleep(time.Minute)
		i.set(func() { i.takes = time.Hour })

		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() {
			mustRefuse(t, v, sign(t, b, ours(), nil), protocol.Unavailable, "try again")
			if took := time.Since(began); took != fetchTimeout {
				t.Errorf("got an answer after %v, want %v", took, fetchTimeout)
			}
		})
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := v.Verify(ctx, sign(t, b, ours(), nil))
			if code := protocol.ErrorFrom(err).Code; code != protocol.Unavailable || time.Since(began) != time.Second {
				t.Errorf("got %s after %v, want unavailable after 1s", code, time.Since(began))
			}
		})
		synctest.Wait()
		mustGrant(t, v, sign(t, a, ours(), nil))
		if took := time.Since(began); took != 0 {
			t.Errorf("a known key took %v", took)
		}
		group.Wait()
	}, a)
}

func TestCloseLetsNobodyWait(t *testing.T) {
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, named(pairs()[ES256], "a"), ours(), nil))
		time.Sleep(time.Minute)
		i.set(func() { i.takes = time.Hour })
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() {
			mustRefuse(t, v, sign(t, pairs()[RS256], ours(), nil), protocol.Unavailable, "try again")
		})
		synctest.Wait()
		v.Close()
		group.Wait()
		mustRefuse(t, v, sign(t, pairs()[RS256], ours(), nil), protocol.Unavailable, "try again")
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	}, named(pairs()[ES256], "a"))
}

func TestGarbageForAKeySetChangesNothing(t *testing.T) {
	a := named(pairs()[ES256], "a")
	secret, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pairs()[HS256].public, KeyID: "s"}}})
	var log bytes.Buffer
	options := Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	withIssuer(t, options, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		good := i.body
		i.serve(named(pairs()[HS256], "s"), named(pairs()[EdDSA], "d"))
		others := i.body
		fresh := sign(t, named(pairs()[EdDSA], "d"), merge(ours(), object{"exp": time.Now().Add(24 * time.Hour).Unix()}), nil)
		for _, bad := range []string{
			"", "null", "[]", "{}", `{"keys":{}}`, `{"keys":[1,null,"x",{}]}`, "<html>", good[:len(good)/2], string(secret),
			`{"keys":[` + strings.Repeat(`{},`, 200) + `{}]}`, others + strings.Repeat(" ", fetchBytes), strings.Repeat("[", 100_000),
		} {
			i.set(func() { i.body = bad })
			time.Sleep(10 * time.Minute)
			mustGrant(t, v, sign(t, a, ours(), nil))
			mustRefuse(t, v, fresh, protocol.Unavailable, "try again")
		}
		for _, status := range []int{0, 204, 304, 404, 500} {
			i.set(func() { i.body, i.status, i.down = others, status, status == 0 })
			time.Sleep(10 * time.Minute)
			mustGrant(t, v, sign(t, a, ours(), nil))
			mustRefuse(t, v, fresh, protocol.Unavailable, "try again")
		}
		i.serve(named(pairs()[HS256], "s"), named(pairs()[EdDSA], "d"))
		time.Sleep(10 * time.Minute)
		mustGrant(t, v, fresh)
		mustRefuse(t, v, sign(t, named(pairs()[HS256], "s"), ours(), nil), protocol.Unauthorized, "no key") // a secret that everybody can fetch is none
	}, a)
	if strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "cannot be fetched") {
		t.Errorf("got the log %.1000s", log.String())
	}
}

// A set may hold what nobody here understands.
func TestKeysThatAreNotUnderstoodAreLeftOut(t *testing.T) {
	a := named(pairs()[ES256], "a")
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(a)
		i.body = strings.Replace(i.body, `{"keys":[`, `{"keys":[{"kty":"new","kid":"n"},{"kty":"OKP","crv":"X25519","x":"AA"},{"kty":"RSA","n":"AQ","e":"AQAB"},7,`, 1)
		mustGrant(t, i.verifier(t, Options{}), sign(t, a, ours(), nil))
	})
}

func TestKeysComeFromNowhereElse(t *testing.T) {
	a := named(pairs()[ES256], "a")
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(a)
		redirect := transport(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "issuer.example" {
				return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://elsewhere.example/"}}, Body: http.NoBody, Request: r}, nil
			}
			return i.RoundTrip(r)
		})
		v := verifier(t, Options{JWKS: "https://issuer.example/", Transport: redirect, Issuer: "me"})
		mustRefuse(t, v, sign(t, a, ours(), nil), protocol.Unavailable, "try again")
		if n := i.fetched(); n != 0 {
			t.Errorf("got %d requests without TLS", n)
		}
	})
}

func TestRedirectsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		round := transport(func(r *http.Request) (*http.Response, error) {
			if asked++; asked > 20 {
				return nil, errors.New("for ever")
			}
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://issuer.example/"}}, Body: http.NoBody, Request: r}, nil
		})
		v := verifier(t, Options{JWKS: "https://issuer.example/", Transport: round, Issuer: "me"})
		mustRefuse(t, v, sign(t, named(pairs()[ES256], "a"), ours(), nil), protocol.Unavailable, "try again")
		if asked != 4 {
			t.Errorf("got %d requests, want the first and three redirects", asked)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func TestAnEmptyKeySetTakesAllKeysBack(t *testing.T) {
	a := named(pairs()[ES256], "a")
	withIssuer(t, Options{}, func(t *testing.T, i *issuer, v *Verifier) {
		mustGrant(t, v, sign(t, a, ours(), nil))
		i.set(func() { i.body = `{"keys":[]}` })
		time.Sleep(11 * time.Minute)
		mustRefuse(t, v, sign(t, a, ours(), nil), protocol.Unauthorized, "no key")
	}, a)
}

package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/fairlead/fairlead/protocol"
)

// How a key set is fetched.
const (
	fetchTimeout  = 5 * time.Second
	fetchBytes    = 256 << 10
	fetchEvery    = 10 * time.Minute
	fetchApart    = 5 * time.Second // at least, whatever kids tokens claim
	fetchBackoff  = time.Second     // after a failure; doubled with each
	fetchBackoffs = 5 * time.Minute // at most
	keptFor       = 24 * time.Hour  // keys that cannot be asked for anew
	maxShown      = 10_000          // tokens with unknown keys of which it is remembered when they came
)

// A jwks is a key set at a URL, and the keys that are configured besides. One
// goroutine fetches it, one fetch at a time: from time to time, and when a token
// names a key that it does not know.
type jwks struct {
	url    string
	client *http.Client
	log    *slog.Logger
	fixed  []Key

	ring  atomic.Pointer[keyring]
	last  atomic.Pointer[fetched] // nil: none that still counts; changed by run alone
	asked chan struct{}           // somebody wants a fetch
	ended chan struct{}           // closed when run has ended
	shown *lru.Cache[[sha256.Size]byte, time.Time]

	mu     sync.Mutex    // guards the following
	done   chan struct{} // closed when the fetch under way, or else the next, has ended
	began  time.Time     // when the last one that succeeded did
	failed error         // what became of the last one
	tries  int           // that failed, one after another
	next   time.Time     // no fetch before
}

// fetched is a key set as it came. It is never changed.
type fetched struct {
	body []byte
	keys []Key
	at   time.Time // when it was last found to be this
}

func newJWKS(address string, fixed []Key, transport http.RoundTripper, log *slog.Logger) (*jwks, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("auth: the JWKS address is not a URL: write one such as https://login.example.com/.well-known/jwks.json")
	}
	if !private(u) {
		return nil, fmt.Errorf("auth: the JWKS address %s://%s is not https: whoever is on the way could put keys of their own there", u.Scheme, u.Host)
	}
	shown, err := lru.New[[sha256.Size]byte, time.Time](maxShown)
	if err != nil {
		return nil, err // only for a size below 1
	}
	j := &jwks{url: address, fixed: fixed, log: log.With("host", u.Host), shown: shown, asked: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{})}
	j.client = &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if !private(r.URL) || len(via) > 3 {
			return errors.New("it redirects to where keys may not come from")
		}
		return nil
	}}
	j.ring.Store(&keyring{fixed})
	return j, nil
}

// inherit goes on with the set that other, nil for none, has fetched from the
// same address. It is called before run.
func (j *jwks) inherit(other *jwks) {
	if other == nil || other.url != j.url {
		return
	}
	if last := other.last.Load(); last != nil {
		_ = j.use(last) // if the configured keys are in its way now, the next fetch says so
	}
}

// use puts the keys of a set in the ring, beside those that are configured.
func (j *jwks) use(set *fetched) error {
	ring := &keyring{slices.Concat(j.fixed, set.keys)}
	if err := ring.check(); err != nil {
		return err
	}
	j.last.Store(set)
	j.ring.Store(ring)
	return nil
}

// private tells whether nobody on the way can change what comes from u.
func private(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.IsLoopback())
}

// run fetches the set until ctx ends.
func (j *jwks) run(ctx context.Context) {
	defer close(j.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-j.asked:
			if time.Now().Before(j.earliest()) {
				continue // somebody asked during the fetch that has just ended
			}
		}
		began := time.Now()
		err := j.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(j.settle(began, err))
	}
}

func (j *jwks) earliest() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// settle notes what became of the fetch that began then, tells who waits, and says when the next one is due.
func (j *jwks) settle(began time.Time, err error) (wait time.Duration) {
	if last := j.last.Load(); err != nil && last != nil && time.Since(last.at) > keptFor {
		j.last.Store(nil)
		j.ring.Store(&keyring{j.fixed})
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed = err
	if err == nil {
		j.began, j.tries, j.next, wait = began, 0, time.Now().Add(fetchApart), fetchEvery
	} else {
		most := min(fetchBackoff<<min(j.tries, 16), fetchBackoffs)
		wait = most/2 + rand.N(most/2) // spread: all nodes fail at once
		j.tries++
		j.next = time.Now().Add(wait)
		j.log.Warn("the key set cannot be fetched: tokens with new keys are put off", "error", err, "failures", j.tries, "next", wait)
	}
	close(j.done)
	j.done = make(chan struct{})
	return wait
}

// errBefore is why a token with an unknown key is put off, though the set could be fetched.
var errBefore = errors.New("the set was fetched before the token came")

// refresh returns nil when the set was fetched since the token with that hash
// was first shown: a key that is not in it now is none. Until then nobody knows
// whether the token is good, and it returns an error. It waits for one fetch at
// most, 5 seconds, and does not wait until one may be made: that would hold as
// many requests as somebody likes to send, while one who is put off, for 5
// seconds at most, is no guess, costs nothing, and finds the key here when they
// come again, because whoever asks first by then has it fetched.
func (j *jwks) refresh(ctx context.Context, token [sha256.Size]byte) error {
	first := j.firstShown(token)
	j.mu.Lock()
	done, wait := j.done, time.Until(j.next)
	j.mu.Unlock()
	if wait <= 0 {
		select {
		case j.asked <- struct{}{}:
		default:
		}
		select {
		case <-done:
		case <-ctx.Done():
			return putOff(context.Cause(ctx), fetchApart)
		case <-j.ended:
			return putOff(errors.New("the verifier is closed"), fetchApart)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch wait = time.Until(j.next); {
	case j.failed != nil:
		return putOff(j.failed, wait)
	case j.began.Before(first):
		return putOff(errBefore, wait)
	default:
		return nil
	}
}

// firstShown is when the token first came, as far as that is remembered: who
// sends very many makes others be put off once more, and no more than that.
func (j *jwks) firstShown(token [sha256.Size]byte) time.Time {
	now := time.Now()
	if before, again, _ := j.shown.PeekOrAdd(token, now); again {
		return before
	}
	return now
}

// putOff is the error for a token whose key could not be asked for, because of the cause.
func putOff(cause error, wait time.Duration) error {
	says := "the token's key is not known here yet, and the issuer's key set cannot be fetched: try again later"
	if errors.Is(cause, errBefore) {
		says = "the token's key is not known here yet, and the issuer's key set was fetched just before: try again; if that does not help, check the token's kid and alg"
	}
	e := protocol.Errorf(protocol.Unavailable, "%s", says).Because(cause)
	e.RetryAfter = max(wait, time.Second)
	return e
}

// fetch asks for the set once, and puts other keys than before in the ring.
func (j *jwks) fetch(ctx context.Context) error {
	body, err := j.get(ctx)
	if err != nil {
		return err
	}
	if last := j.last.Load(); last != nil && bytes.Equal(body, last.body) {
		j.last.Store(&fetched{last.body, last.keys, time.Now()}) // the same keyring: what was found with it still counts
		return nil
	}
	keys, err := parseSet(body)
	if err != nil {
		return err
	}
	if err := j.use(&fetched{body, keys, time.Now()}); err != nil {
		return err
	}
	j.log.Info("the key set has changed", "keys", len(keys))
	return nil
}

func (j *jwks) get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := j.client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL: it may hold a secret, and this is logged
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, fetchBytes+1))
	if err == nil && len(body) > fetchBytes {
		err = fmt.Errorf("the answer has more than %d bytes", fetchBytes)
	}
	return body, err
}

// parseSet is the keys of a JWK set that can check a token. Others are left out,
// as RFC 7517, section 5, says; secrets too, because they are none here.
func parseSet(body []byte) (keys []Key, err error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the answer is not a JWK set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the set has %d keys: at most %d are allowed", len(set.Keys), maxKeys)
	}
	if set.Keys == nil {
		return nil, errors.New("the answer is not a JWK set: it has no keys")
	}
	for _, document := range set.Keys {
		if k, err := JWKKey(document); err == nil && k.Algorithm != HS256 {
			k.private = nil
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 && len(set.Keys) > 0 { // none at all is how an issuer takes them all back
		return nil, errors.New("the set has no key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}

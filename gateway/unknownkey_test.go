package gateway

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// emptySet is an issuer whose set of keys is still empty.
type emptySet struct{}

func (emptySet) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"keys":[]}`)), Header: http.Header{}, Request: r}, nil
}

// Who has a token with a new key comes again, and must be listened to then,
// whatever they share an address with (PROTOCOL.md 2.5).
func TestATokenWhoseKeyIsStillToComeIsNoGuess(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuardedBy(t, Options{Limits: Limits{GuessesPerIP: 1}}, func(a *auth.Options) {
			a.JWKS, a.Issuer, a.Transport = "https://issuer.example/keys", "me", emptySet{}
		})
		at := w.from(someone)
		hello := func(kid string) request {
			return attaching(helloAs(forge(t, object{"alg": "EdDSA", "kid": kid}, object{}, make([]byte, 64)), `"channels":{"a":{}}`))
		}
		time.Sleep(10 * time.Second)
		at.begin(transport, hello("first")).wantCode(t, "what made the set be fetched", protocol.Unauthorized)
		time.Sleep(time.Millisecond) // what came with it is answered as it is
		for n := range 5 * admission.BurstSeconds {
			at.begin(transport, hello(strconv.Itoa(n))).wantCode(t, "within 5 seconds of it", protocol.Unavailable)
		}
		a := at.call(hello("last"))
		a.wantProblem(t, "within 5 seconds of it", protocol.Unavailable)
		if after := a.header.Get("Retry-After"); after == "" || after > "5" || len(after) > 1 {
			t.Errorf("got Retry-After %q, want one of at most 5 seconds", after)
		}
	})
}

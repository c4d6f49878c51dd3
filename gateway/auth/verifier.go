package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// MaxTokenBytes is how long a credential may be.
const MaxTokenBytes = 8 << 10

// Options are what a Verifier believes. At least one of Keys, JWKS, APIKeys and Anonymous is needed.
type Options struct {
	Keys      []Key    // that sign tokens
	JWKS      string   // the https URL of a set of more of them; needs Issuer or Audience, because it may sign for others too
	APIKeys   []APIKey // of origins
	Anonymous *Rights  // of who shows nothing; nil: is refused

	Issuer      string        // what `iss` must be; empty: anything
	Audience    []string      // one of which `aud` must name; empty: a token for an audience is refused (RFC 7519, section 4.1.3)
	Skew        time.Duration // how far clocks may differ; 0: 30 seconds; less: not at all
	MaxLifetime time.Duration // of a token, from iat (or now, without one) to exp; 0: 30 days
	Unending    bool          // take tokens without exp, too

	CacheSize int               // how many tokens seen are remembered; 0: 10,000
	Transport http.RoundTripper // for the JWKS; nil: one of its own
	Logger    *slog.Logger      // nil: none
}

// A Verifier tells what a credential grants. Any number may use it at the same
// time. Close ends it.
type Verifier struct {
	options Options
	fixed   *keyring
	jwks    *jwks // nil: none
	apiKeys apiKeys
	anyone  *Grant // nil: nobody
	seen    *cache

	stop    context.CancelFunc
	working sync.WaitGroup
}

// NewVerifier makes a Verifier. It does not wait for the JWKS: who needs it does.
func NewVerifier(options Options) (*Verifier, error) { return (*Verifier)(nil).Successor(options) }

// Successor makes a Verifier of other options, which begins with the key set
// that v has fetched, if it is from the same address: its issuer may be out of
// reach just now. v, which may be nil, is not changed.
func (v *Verifier) Successor(options Options) (*Verifier, error) {
	if len(options.Keys) == 0 && options.JWKS == "" && len(options.APIKeys) == 0 && options.Anonymous == nil {
		return nil, errors.New("auth: nobody could get in: configure a key, a JWKS, an API key or rights for anonymous clients")
	}
	if options.JWKS != "" && options.Issuer == "" && len(options.Audience) == 0 {
		return nil, errors.New("auth: a JWKS needs an audience or an issuer: its keys may sign tokens for other applications too")
	}
	options.setDefaults()
	next := &Verifier{options: options, fixed: &keyring{slices.Clone(options.Keys)}, seen: newCache(options.CacheSize)}
	if err := next.fixed.check(); err != nil {
		return nil, err
	}
	var err error
	if next.apiKeys, err = newAPIKeys(options.APIKeys); err != nil {
		return nil, err
	}
	if options.Anonymous != nil {
		if err := options.Anonymous.Check(); err != nil {
			return nil, fmt.Errorf("auth: the rights of anonymous clients: %w", err)
		}
		next.anyone = &Grant{Rights: *options.Anonymous, Source: FromNobody}
	}
	if err := next.begin(v); err != nil {
		return nil, err
	}
	return next, nil
}

func (o *Options) setDefaults() {
	o.Skew = max(cmp.Or(o.Skew, 30*time.Second), 0)
	o.MaxLifetime = cmp.Or(o.MaxLifetime, 30*24*time.Hour)
	o.CacheSize = cmp.Or(o.CacheSize, 10_000)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
}

// begin begins to fetch the JWKS, if there is one, and until then has that of before, which may be nil.
func (v *Verifier) begin(before *Verifier) error {
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	if v.options.JWKS == "" {
		return nil
	}
	transport := v.options.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.DisableKeepAlives = true // one request in ten minutes
		transport = own
	}
	var err error
	if v.jwks, err = newJWKS(v.options.JWKS, v.fixed.keys, transport, v.options.Logger); err != nil {
		stop()
		return err
	}
	if before != nil {
		v.jwks.inherit(before.jwks)
	}
	v.working.Go(func() { v.jwks.run(ctx) })
	return nil
}

// Close ends the fetching of keys and waits for its end. Tokens are checked on, with the keys that are known.
func (v *Verifier) Close() {
	v.stop()
	v.working.Wait()
}

// Verify is what the credential, a token or an API key, grants now; empty stands
// for none. It may wait for the JWKS, 5 seconds at most, if it needs a key that
// is not known. Whether it was revoked is another question. Errors are protocol
// Errors with the codes unauthorized, expired and unavailable: the last of a
// token whose key may be in a JWKS that could not be fetched since the token
// came, with the time after which to try again.
func (v *Verifier) Verify(ctx context.Context, credential string) (*Grant, error) {
	g, err := v.find(ctx, credential)
	if err != nil {
		return nil, err
	}
	if err := g.Check(time.Now()); err != nil {
		return nil, err
	}
	return g, nil
}

// Knows tells whether Verify knows the credential: it is empty, an API key that
// is configured, or a token that was seen.
func (v *Verifier) Knows(credential string) bool {
	switch {
	case credential == "":
		return true
	case strings.HasPrefix(credential, apiKeyPrefix):
		_, err := v.apiKeys.find(credential)
		return err == nil
	}
	return len(credential) <= MaxTokenBytes && v.seen.find(sha256.Sum256([]byte(credential)), v.ring()) != nil
}

// Again is what g, which another Verifier may have granted, has become with this
// one: API keys and anonymous clients may have been given other rights, or none
// any more, which is an error. A token's grant stands until it ends. With a nil
// Verifier, which has no keys, everything is allowed and nobody is anybody.
func (v *Verifier) Again(g *Grant) (*Grant, error) {
	switch {
	case v == nil:
		return Open(), nil
	case g.Source == FromToken:
		return g, nil
	case g.Source == FromAPIKey:
		if now := v.apiKeys.again(g); now != nil {
			return now, nil
		}
		return nil, refuse("the API key was taken back")
	case v.anyone != nil:
		return v.anyone, nil
	default:
		return nil, refuse("a token is needed here now").Because(errNoToken)
	}
}

// find is Verify, but the grant may have ended.
func (v *Verifier) find(ctx context.Context, credential string) (*Grant, error) {
	switch {
	case credential == "" && v.anyone != nil:
		return v.anyone, nil
	case credential == "":
		return nil, refuse("there is no token: send one in the Authorization header or in hello").Because(errNoToken)
	case len(credential) > MaxTokenBytes:
		return nil, refuse("the token has %d bytes: at most %d are allowed; wildcards make few patterns of many", len(credential), MaxTokenBytes)
	case strings.HasPrefix(credential, apiKeyPrefix):
		return v.apiKeys.find(credential)
	}
	sum := sha256.Sum256([]byte(credential))
	if g := v.seen.find(sum, v.ring()); g != nil {
		return g, nil
	}
	g, ring, err := v.read(ctx, credential, sum)
	if err != nil {
		return nil, err
	}
	v.seen.add(sum, ring, g)
	return g, nil
}

// ring is the keys that count now.
func (v *Verifier) ring() *keyring {
	if v.jwks != nil {
		return v.jwks.ring.Load()
	}
	return v.fixed
}

// read is the grant of a token, of which sum is the hash, and the keys with which it was checked.
func (v *Verifier) read(ctx context.Context, token string, sum [sha256.Size]byte) (*Grant, *keyring, error) {
	signed, err := jose.ParseSignedCompact(token, allowed)
	if err != nil || strings.ContainsAny(token, "\r\n") { // Go's base64 leaves these out
		return nil, nil, refuse("the token is not a JWT that is signed with HS256, RS256, ES256 or EdDSA").Because(err)
	}
	if err := checkHeader(signed.Signatures[0].Protected); err != nil {
		return nil, nil, err
	}
	ring := v.ring()
	payload, err := ring.open(signed)
	algorithm := Algorithm(signed.Signatures[0].Protected.Algorithm)
	if isUnknown(err) && v.jwks != nil && algorithm != HS256 { // a set has no secrets
		later := v.jwks.refresh(ctx, sum)
		ring = v.ring()
		payload, err = ring.open(signed)
		if isUnknown(err) && later != nil {
			return nil, nil, later
		}
	}
	if err != nil {
		return nil, nil, refuseSignature(algorithm, err)
	}
	g, err := v.grant(payload)
	return g, ring, err
}

// refuseSignature is the refusal of a token that a keyring did not open.
func refuseSignature(algorithm Algorithm, err error) error {
	switch {
	case errors.Is(err, errNoKey):
		return refuse("no key that is known here made the token: check its kid and alg against the server's keys").Because(err)
	case errors.Is(err, errNoFit) && algorithm == HS256:
		return refuse("the token's signature fits no HS256 key that is known here: sign it with the server's secret, which is the text as it is configured or in its file, not base64-decoded").Because(err)
	case errors.Is(err, errNoFit):
		return refuse("the token's signature fits no %s key that is known here: sign it with the private key of one that the server has", algorithm).Because(err)
	case errors.Is(err, errManyKeys):
		return refuse("the token does not say which of several keys made it: put the key's id in its kid").Because(err)
	default:
		return refuse("the token's signature is wrong: it was changed, or made with another key than the one it names").Because(err)
	}
}

// checkHeader reports what a token's header may not say (RFC 8725).
func checkHeader(header jose.Header) error {
	if _, critical := header.ExtraHeaders["crit"]; critical {
		return refuse("the token's header has crit, and no extension is understood here: leave it out")
	}
	typ, given := header.ExtraHeaders["typ"]
	if !given {
		return nil
	}
	name, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(name), "application/") {
	case "jwt", "at+jwt": // RFC 7519, section 5.1; RFC 9068, section 2.1
		return nil
	default:
		return refuse("the token is not for access: its typ is neither JWT nor at+jwt")
	}
}

// Longest is how long after its issue a token may be accepted, so that nothing
// need be remembered longer of one that is revoked; 0: for ever.
func (v *Verifier) Longest() time.Duration {
	if v.options.Unending {
		return 0
	}
	return v.options.MaxLifetime + 2*v.options.Skew // the issuer's clock may be ahead, and the end is put off
}

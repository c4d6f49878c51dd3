package auth

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/fairlead/fairlead/protocol"
)

// maxNameBytes is how long a sub or a jti may be.
const maxNameBytes = 256

// claims are what is read of a token's payload.
type claims struct {
	jwt.Claims

	Fairlead Rights `json:"fairlead"`
}

// grant is what the payload of a token grants, once its signature is known to be good.
func (v *Verifier) grant(payload []byte) (*Grant, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, refuse("the token's claims cannot be read: fairlead is an object with lists of patterns (subscribe, publish, presence), and exp is a number").Because(err)
	}
	if err := v.checkTimes(&c.Claims); err != nil {
		return nil, err
	}
	if err := v.checkAudience(&c.Claims); err != nil {
		return nil, err
	}
	if !isName(c.Subject) || !isName(c.ID) {
		return nil, refuse("the token's sub or jti cannot be used: at most %d bytes of text, without control characters and spaces around it", maxNameBytes)
	}
	if err := c.Fairlead.Check(); err != nil {
		return nil, refuse("the token's claim fairlead is wrong: %s", protocol.ErrorFrom(err).Message)
	}
	g := &Grant{Rights: c.Fairlead, Source: FromToken, Subject: c.Subject, TokenID: c.ID}
	if c.IssuedAt != nil {
		g.Issued = c.IssuedAt.Time()
		if now := time.Now(); g.Issued.After(now) { // its issuer's clock is ahead: a revocation a second from now must hit it
			g.Issued = now
		}
	}
	if c.Expiry != nil {
		g.Expires = c.Expiry.Time().Add(v.options.Skew)
	}
	return g, nil
}

// checkTimes reports that a token is not good yet, or for too long. That it has
// expired is looked at with each use.
func (v *Verifier) checkTimes(c *jwt.Claims) error {
	if c.Expiry == nil && !v.options.Unending {
		return refuse("the token has no exp: put the time of its end in it")
	}
	if c.IssuedAt == nil && !v.options.Unending {
		// Without it nobody could tell how long a revocation has to be kept.
		return refuse("the token has no iat: put the time of its issue in it")
	}
	for _, at := range []*jwt.NumericDate{c.Expiry, c.NotBefore, c.IssuedAt} {
		if at != nil && *at < 0 {
			return refuse("the token has a time before 1970: exp, nbf and iat are seconds since then")
		}
	}
	latest := time.Now().Add(v.options.Skew)
	if c.NotBefore != nil && latest.Before(c.NotBefore.Time()) || c.IssuedAt != nil && latest.Before(c.IssuedAt.Time()) {
		return refuse("the token is not valid yet: compare the issuer's clock with the server's")
	}
	issued := time.Now()
	if c.IssuedAt != nil {
		issued = c.IssuedAt.Time()
	}
	if c.Expiry != nil && c.Expiry.Time().After(issued.Add(v.options.MaxLifetime)) {
		return refuse("the token lives longer than %s: let it expire sooner (milliseconds in exp look like this too)", v.options.MaxLifetime)
	}
	return nil
}

// checkAudience reports that a token was made by somebody else, or for somebody else.
func (v *Verifier) checkAudience(c *jwt.Claims) error {
	expected := jwt.Expected{Issuer: v.options.Issuer, AnyAudience: v.options.Audience}
	timeless := jwt.Claims{Issuer: c.Issuer, Audience: c.Audience}
	err := timeless.ValidateWithLeeway(expected, 0)
	switch {
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return refuse("the token is not from the issuer that is configured here: check its iss").Because(err)
	case err != nil, len(v.options.Audience) == 0 && slices.ContainsFunc(c.Audience, func(a string) bool { return a != "" }):
		return refuse("the token is not for this server: its aud must name an audience that is configured here").Because(err)
	}
	return nil
}

// isName tells whether s can be a message's `from`, and so a NATS header. It may be empty.
func isName(s string) bool {
	return len(s) <= maxNameBytes && utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

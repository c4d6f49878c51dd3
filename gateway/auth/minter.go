package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/fairlead/fairlead/protocol"
)

// A Minter makes tokens, for development and tests. Any number may use it at the same time.
type Minter struct {
	signer           jose.Signer
	issuer, audience string
}

// NewMinter makes a Minter that signs with key and puts issuer and audience,
// unless empty, in each token.
func NewMinter(key Key, issuer, audience string) (*Minter, error) {
	if key.private == nil {
		return nil, fmt.Errorf("auth: the %v can only check tokens: its private part is needed to make some", key)
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if key.ID != "" {
		options = options.WithHeader("kid", key.ID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key.private}, options)
	if err != nil {
		return nil, fmt.Errorf("auth: sign with the %v: %w", key, err)
	}
	return &Minter{signer, issuer, audience}, nil
}

// Mint makes a token for subject, which may be empty, that is good for as long as lifetime.
func (m *Minter) Mint(subject string, rights Rights, lifetime time.Duration) (string, error) {
	if lifetime <= 0 {
		return "", errors.New("auth: the token would have expired already: give it a lifetime such as 1h")
	}
	if !isName(subject) {
		return "", fmt.Errorf("auth: the subject %q cannot be used: at most %d bytes of text, without control characters and spaces around it", subject, maxNameBytes)
	}
	if err := rights.Check(); err != nil {
		return "", fmt.Errorf("auth: %s", protocol.ErrorFrom(err).Message)
	}
	now := time.Now()
	c := claims{jwt.Claims{
		Issuer: m.issuer, Subject: subject, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(lifetime)),
	}, rights}
	if m.audience != "" {
		c.Audience = jwt.Audience{m.audience}
	}
	token, err := jwt.Signed(m.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("auth: sign a token: %w", err)
	}
	return token, nil
}

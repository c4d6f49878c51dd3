package fairlead

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	tokenLimit = 10 * time.Second // bounds one call of Options.Token
	// tokenRevoked is the wait from a revocation to the next token: one that is issued in the
	// same second is revoked as well (PROTOCOL.md 4.7).
	tokenRevoked = 1100 * time.Millisecond
)

// StaticToken is an Options.Token for a token that is never replaced by
// another: once the gateway has refused it, the client stops.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if TokenRefused(ctx) {
			return "", errFixed
		}
		return token, nil
	}
}

// errFixed is what StaticToken says when another token is asked for.
var errFixed = errors.New("there is no other token than the one that was refused")

// TokenRefused tells an Options.Token, of the context that it is given, that
// the gateway has refused the last token: one that was kept is of no more use.
func TokenRefused(ctx context.Context) bool { return ctx.Value(refusedKey{}) != nil }

type refusedKey struct{}

// A token is one that Options.Token gave; number tells it from those before it.
// Tokens are passed as pointers, so that whoever prints what holds one does not print it.
type token struct {
	number int    // from 1 on
	text   string // empty: nothing is sent
}

// tokens keeps the latest token of a client. Safe for concurrent use.
type tokens struct {
	ask  func(context.Context) (string, error) // nil: the client has none
	turn chan struct{}                         // holds one: who takes it owns latest, and may ask
	last *token                                // nil: none yet

	taken atomic.Bool // some were, by the server: one that is refused now was revoked, most likely
}

func newTokens(ask func(context.Context) (string, error)) *tokens {
	t := &tokens{ask: ask, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// get is the latest token, if it came after the one with that number. If not,
// another is asked for; one that comes back with the number is the same as
// before. refused says that the server did not take it. Of all who call at the
// same time one asks. The result is nil if the client has no tokens. Errors are tokenErrors.
func (t *tokens) get(ctx context.Context, after int, refused bool) (*token, error) {
	if t.ask == nil {
		return nil, nil
	}
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, &tokenError{context.Cause(ctx)}
	}
	if t.last != nil && t.last.number > after {
		return t.last, nil
	}
	text, err := t.fetch(ctx, refused)
	if err != nil {
		return nil, &tokenError{err}
	}
	switch {
	case t.last == nil:
		t.last = &token{number: 1, text: text}
	case t.last.text != text:
		t.last = &token{number: t.last.number + 1, text: text}
	}
	return t.last, nil
}

// fetch calls the application.
func (t *tokens) fetch(ctx context.Context, refused bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenLimit)
	defer cancel()
	if refused {
		ctx = context.WithValue(ctx, refusedKey{}, true)
	}
	text, err := t.ask(ctx)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("it has characters that are in no token: is it something else?")
	}
	return text, nil
}

// A tokenError says why there is no token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return fmt.Sprintf("get a token: %v", e.err) }
func (e *tokenError) Unwrap() error { return e.err }

// A refusal is the error of a request whose token the server refused.
type refusal struct {
	err     *protocol.Error
	token   int  // its number
	revoked bool // most likely
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// blame makes a refusal of err, if err is about the token of its request.
func (c *Client) blame(t *token, err error) error {
	if t == nil || !isDenial(err) {
		return err
	}
	return &refusal{err: protocol.ErrorFrom(err), token: t.number, revoked: isUnauthorized(err) && c.tokens.taken.Load()}
}

// isDenial tells whether err is the server's refusal of a token.
func isDenial(err error) bool {
	e, ok := errors.AsType[*protocol.Error](err)
	return ok && (e.Code == protocol.Expired || e.Code == protocol.Unauthorized)
}

// isUnauthorized tells whether err says that a token will not do later either.
func isUnauthorized(err error) bool {
	e, ok := errors.AsType[*protocol.Error](err)
	return ok && e.Code == protocol.Unauthorized
}

// replace asks for another token than the refused one. The error is not a
// refusal if there is no other: then there is no use in another attempt.
func (c *Client) replace(ctx context.Context, refused *refusal) error {
	if refused == nil {
		return nil
	}
	t, err := c.tokens.get(ctx, refused.token, true)
	if errors.Is(err, errFixed) || err == nil && t.number == refused.token {
		return refused.err
	}
	return err
}

// do sends the request, with the token if it is not nil.
func (c *Client) do(r *http.Request, t *token) (*http.Response, error) {
	if t != nil && t.text != "" {
		r.Header.Set("Authorization", "Bearer "+t.text)
	}
	response, err := c.http.Do(r)
	if t != nil && err == nil && response.StatusCode/100 == 2 {
		c.tokens.taken.Store(true)
	}
	return response, err
}

package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// cookieName is the cookie that holds a token. Its prefix makes browsers take it
// over TLS only, and from this very host (RFC 6265bis, section 4.1.3.2).
const cookieName = "__Host-fairlead"

// attachPath is the only place where a ticket may be in the URL.
const attachPath = "/" + protocol.Version + "/attach"

// credential is what somebody shows of who they are.
type credential struct {
	text   string
	ticket bool // it is one, and no token
	cookie bool // it was in one
}

// credentialOf is what a request shows (PROTOCOL.md 2.5). A ticket comes first:
// whatever else is there, it must be used up, because others may see it.
func credentialOf(r *http.Request) credential {
	if ticket := r.URL.Query().Get("ticket"); ticket != "" && r.Method == http.MethodGet && r.URL.Path == attachPath {
		return credential{text: ticket, ticket: true}
	}
	for _, line := range r.Header.Values("Authorization") { // a proxy may have one of its own
		if scheme, token, _ := strings.Cut(line, " "); strings.EqualFold(scheme, "Bearer") {
			return credential{text: strings.TrimSpace(token)}
		}
	}
	if cookie, err := r.Cookie(cookieName); err == nil { // guardPages has left it there
		return credential{text: cookie.Value, cookie: true}
	}
	return credential{}
}

// or is the token that a frame or a body holds, if it holds one and c is no ticket, and else c.
func (c credential) or(token string) credential {
	if token != "" && !c.ticket {
		return credential{text: token}
	}
	return c
}

// urlSecrets are the names under which a token could be in a URL.
var urlSecrets = []string{"token", "access_token", "id_token", "jwt", "authorization", "auth", "bearer", "api_key", "apikey"}

// refuseURLTokens refuses requests with a token in the URL.
func (g *Gateway) refuseURLTokens(next http.Handler) http.Handler {
	return g.handle(func(w http.ResponseWriter, r *http.Request) error {
		q, err := queryOf(r)
		if err != nil {
			return err // there could be one in it
		}
		for name, values := range q {
			what := strings.ToLower(name)
			switch attaches := r.Method == http.MethodGet && r.URL.Path == attachPath; {
			case what == "ticket" && !(name == "ticket" && attaches):
				what = "a ticket, other than as ticket= to attach with,"
			case what == "ticket" && slices.ContainsFunc(values, isNoTicket):
				what = "a ticket parameter that holds no ticket"
			case isSecret(name) || slices.ContainsFunc(values, isSecret):
				what = "a token or API key"
			case !slices.Contains(urlSecrets, what):
				continue
			}
			return protocol.Errorf(protocol.BadRequest, "%s does not belong in a URL, where logs and proxies keep it: send it in the Authorization header, or in hello, and consider it known to others now", what)
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// isSecret tells whether s looks like an API key or a JWT, as it is or as it is
// written in a header or in JSON.
func isSecret(s string) bool {
	if scheme, rest, _ := strings.Cut(strings.TrimSpace(s), " "); strings.EqualFold(scheme, "Bearer") {
		s = rest
	}
	s = strings.Trim(s, "\"' ")
	return strings.HasPrefix(s, "fl_") || strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2
}

func isNoTicket(s string) bool { return s != "" && !strings.HasPrefix(s, ticketPrefix) }

// identify is the grant of what a client shows, to be used by the session, which
// may be empty. An address that guesses is soon not listened to.
func (g *Gateway) identify(ctx context.Context, from client, c credential, session string) (*auth.Grant, error) {
	verifier := g.policy.Load().auth
	if verifier == nil {
		return auth.Open(), nil
	}
	if c.ticket || !verifier.Knows(c.text) { // who is known is listened to, whatever others show
		if err := g.door.Listen(from.counted()); err != nil {
			return nil, err
		}
	}
	grant, err := g.verify(ctx, verifier, c)
	if err == nil {
		err = g.access.revoked.Check(grant, session)
	}
	if err != nil {
		if protocol.ErrorFrom(err).Code == protocol.Unauthorized && c.text != "" {
			g.door.Guessed(from.counted())
		}
		return nil, err
	}
	return grant, nil
}

func (g *Gateway) verify(ctx context.Context, verifier *auth.Verifier, c credential) (*auth.Grant, error) {
	switch {
	case !c.ticket:
		return verifier.Verify(ctx, c.text)
	case c.text == anybodys:
		return verifier.Verify(ctx, "")
	}
	tickets, _ := g.access.records()
	grant, err := tickets.Redeem(ctx, c.text)
	if err != nil {
		return nil, err
	}
	return verifier.Again(grant)
}

// recognize is the sender of a request that is not one of a session's, of whom
// n commands are counted, with the grant.
func (g *Gateway) recognize(r *http.Request, n int) (client, error) {
	from := g.clientOf(r)
	err := g.door.Request(from.counted(), n)
	if err == nil {
		from.grant, err = g.identify(r.Context(), from, credentialOf(r), "")
	}
	return from, err
}

// again is what a grant that is in use, by the session, has become; or the error
// with which that use ends. A grant that has expired is used on for the grace.
func (g *Gateway) again(grant *auth.Grant, session string) (*auth.Grant, error) {
	now, err := g.policy.Load().auth.Again(grant)
	if err != nil {
		return nil, err
	}
	if at := time.Now(); g.isOver(now, at) {
		return nil, now.Check(at)
	}
	return now, g.access.revoked.Check(now, session)
}

// still is the sender of a request, with what has become of the grant while the body came.
func (g *Gateway) still(from client) (client, error) {
	grant, err := g.again(from.grant, "")
	return from.with(grant), err
}

// over is when what is attached with a grant ends because of it; zero for never.
func (g *Gateway) over(grant *auth.Grant) time.Time {
	if grant.Expires.IsZero() {
		return time.Time{}
	}
	return grant.Expires.Add(time.Duration(g.grace.Load()))
}

func (g *Gateway) isOver(grant *auth.Grant, now time.Time) bool {
	over := g.over(grant)
	return !over.IsZero() && !now.Before(over)
}

// expiresIn is how many milliseconds the grant is good for; 0: it does not end.
func expiresIn(grant *auth.Grant) int64 {
	if grant.Expires.IsZero() {
		return 0
	}
	return max(time.Until(grant.Expires).Milliseconds(), 1)
}

// mayPublish reports why the grant is not good for publishing to channel now, or nil.
func mayPublish(grant *auth.Grant, channel string) error {
	if err := grant.Check(time.Now()); err != nil {
		return err
	}
	if !grant.MayPublish(channel) {
		return notGranted(grant, "publishing to", channel)
	}
	return nil
}

// maySubscribe is mayPublish for subscribing to pattern, and for its history.
func maySubscribe(grant *auth.Grant, pattern string) error {
	if err := grant.Check(time.Now()); err != nil {
		return err
	}
	if !grant.MaySubscribe(pattern) {
		return notGranted(grant, "subscribing to", pattern)
	}
	return nil
}

// mayManage is mayPublish for purging what pattern matches.
func mayManage(grant *auth.Grant, pattern string) error {
	if err := grant.Check(time.Now()); err != nil {
		return err
	}
	if !grant.MayManage(pattern) {
		return protocol.Errorf(protocol.Forbidden, "this needs an API key that may manage %s", pattern)
	}
	return nil
}

// notGranted says who can do something about it.
func notGranted(grant *auth.Grant, what, name string) *protocol.Error {
	advice := "the token does not grant %s %s: ask whoever makes it"
	switch grant.Source {
	case auth.FromAPIKey:
		advice = "the API key does not grant %s %s: its entry in the file of auth.api_keys says what it may do"
	case auth.FromNobody:
		advice = "without a token nothing grants %s %s: show one, such as in the Authorization header"
	}
	return protocol.Errorf(protocol.Forbidden, advice, what, name)
}

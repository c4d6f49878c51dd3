package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
)

// arrival is somebody of whom it is not known for sure who it is: what the body
// or the first frame shows counts more than what the request does (PROTOCOL.md 2.5).
type arrival struct {
	from    client     // with the grant of what the request shows, if that is known to be good
	shown   credential // by the request
	refused error      // why that is no good, if it is known
	place   *admission.Place
}

// arrive is who sends the request, as far as its header tells: whoever can say
// who they are is no stranger while the rest comes. What is no good may be made
// up for by the rest, so it is an error only in settle. A ticket is good for once,
// and a cookie may be one that a browser keeps though it has been long of no use:
// that is looked at here only if it is known.
func (g *Gateway) arrive(r *http.Request, from client) arrival {
	at := arrival{from: from, shown: credentialOf(r)}
	verifier := g.policy.Load().auth
	if verifier == nil || at.shown.text == "" || at.shown.ticket || at.shown.cookie && !verifier.Knows(at.shown.text) {
		return at
	}
	var grant *auth.Grant
	grant, at.refused = g.identify(r.Context(), from, at.shown, "")
	at.from = from.with(grant)
	return at
}

// counted is whom the door counts a place to.
func (at arrival) counted() admission.Client {
	counted := at.from.counted()
	counted.Known = at.from.grant != nil
	return counted
}

// settle is the grant of who has arrived and shown token, which may be empty, to be used by the session.
func (g *Gateway) settle(ctx context.Context, at arrival, token, session string) (*auth.Grant, error) {
	shown := at.shown.or(token)
	switch {
	case shown != at.shown || at.from.grant == nil && at.refused == nil:
		return g.identify(ctx, at.from, shown, session)
	case at.refused != nil:
		return nil, at.refused
	}
	grant, err := g.again(at.from.grant, session) // the rest may have taken long to come
	if err == nil {
		err = grant.Check(time.Now())
	}
	return grant, err
}

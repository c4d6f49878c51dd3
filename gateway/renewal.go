package gateway

import (
	"context"
	"errors"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// What becomes of an attachment's grant (PROTOCOL.md 2.5).

// renewed is what is answered to auth.
type renewed struct {
	ExpiresIn int64 `json:"expires_in,omitempty"` // milliseconds
}

// renewalOf is the grant for the command auth: that of its token, or of the
// request that it came with.
func (g *Gateway) renewalOf(ctx context.Context, from caller, token string) (*auth.Grant, error) {
	if token == "" && !from.own() {
		return from.from.grant, nil
	}
	if token == "" && g.policy.Load().auth != nil {
		return nil, protocol.Errorf(protocol.BadRequest, "auth has no token: send the new one")
	}
	return g.identify(ctx, from.from, credential{text: token}, from.session)
}

// renew gives the attachment another grant. What that does not cover ends.
func (a *attachment) renew(grant *auth.Grant) (renewed, error) {
	if !grant.SameHolder(a.grant.Load()) {
		return renewed{}, protocol.Errorf(protocol.Forbidden, "the token is of somebody else than this attachment, by its sub: attach anew with it")
	}
	a.grant.Store(grant) // before looking: a subscribe that is under way looks again after it
	for _, frame := range endUngranted(a.reader, grant) {
		a.tell(owed{wire: frame})
	}
	a.wake()    // for its new end
	a.regrant() // what was taken back since the grant was verified
	return renewed{expiresIn(grant)}, nil
}

// endUngranted ends the subscriptions that the grant does not cover, and returns
// the frames that tell of it.
func endUngranted(reader *broker.Reader, grant *auth.Grant) (ended []protocol.Wire) {
	for _, name := range reader.Names() {
		if !grant.MaySubscribe(name) {
			reader.Unsubscribe(name)
			ended = append(ended, unsubscribed(grant, name))
		}
	}
	return ended
}

func unsubscribed(grant *auth.Grant, name string) protocol.Wire {
	return protocol.Unsubscribed(name, notGranted(grant, "subscribing to", name))
}

// subscribe carries out the command.
func (a *attachment) subscribe(ctx context.Context, pattern string, start protocol.Start) (any, error) {
	if err := maySubscribe(a.grant.Load(), pattern); err != nil {
		return nil, err
	}
	if err := a.share.Room(); err != nil {
		return nil, err
	}
	at, err := a.reader.SubscribeAnnounced(ctx, pattern, start)
	if err != nil {
		a.g.countExceeded(err)
		return nil, err
	}
	if grant := a.grant.Load(); !grant.MaySubscribe(pattern) { // it was renewed meanwhile
		a.reader.Unsubscribe(pattern)
		a.tell(owed{wire: unsubscribed(grant, pattern)}) // it may have told of the beginning
		return nil, notGranted(grant, "subscribing to", pattern)
	}
	a.wake()
	return protocol.After{After: at}, nil
}

// countExceeded counts a subscription that was refused because there are too many.
func (g *Gateway) countExceeded(err error) {
	if limit, ok := errors.AsType[broker.Exceeded](err); ok {
		g.countRefused(string(limit))
	}
}

// regrant looks at the attachment's grant again, after what is granted has changed for all.
func (a *attachment) regrant() {
	before := a.grant.Load()
	now, err := a.g.again(before, a.session)
	switch {
	case err != nil:
		a.fail(err)
	case now != before && a.grant.CompareAndSwap(before, now):
		for _, frame := range endUngranted(a.reader, now) {
			a.tell(owed{wire: frame})
		}
		a.wake()
	}
}

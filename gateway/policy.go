package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"github.com/fairlead/fairlead/gateway/auth"
)

// policy is what of the options may change while the gateway runs, but the
// limits, which are the door's. One that is in force is never changed.
type policy struct {
	auth      *auth.Verifier // nil: open
	proxies   []netip.Prefix // trusted
	forwarded bool
	pages     *pages
	entry     http.Handler // what is done with a request before it is routed, and the routes

	log       *slog.Logger // nil: silence
	untrusted sync.Once    // a warning of a proxy that is not trusted
}

// newPolicy is the policy of o, or what is wrong with it.
func (g *Gateway) newPolicy(o Options) (*policy, error) {
	pages, err := newPages(o.Origins)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	p := &policy{auth: o.Auth, proxies: slices.Clone(o.TrustedProxies), forwarded: o.Forwarded, pages: pages, log: g.log}
	rest := g.guardPages(pages, g.refuseURLTokens(g.router))
	if o.LocalOnly {
		rest = g.onlyLocal(rest)
	}
	counted := func(next http.Handler) http.Handler {
		next = g.limitRequests(next)
		if len(p.proxies) > 0 {
			next = p.followProxies(next)
		}
		return next
	}
	p.entry = own(g.surviveRequests(g.giveTime(g.limitHeaders(rest, counted))))
	return p, nil
}

// Reload puts Auth, Grace, Origins, LocalOnly, Limits, TrustedProxies and
// Forwarded of o in force, and nothing else of it; on an error nothing has
// changed. Attachments whose API key or anonymous grant is no more, and those of
// an open gateway that is not any longer, end; tokens stand until they expire, or
// for ever where the gateway is open now.
// The Verifier from before is the caller's to close afterwards. Calls must not overlap.
func (g *Gateway) Reload(o Options) error {
	o = o.withDefaults()
	if before := g.policy.Load(); before != nil && before.auth != nil && o.Auth == nil {
		return errors.New("gateway: a gateway with keys does not become open while it runs: restart it for that")
	}
	p, err := g.newPolicy(o)
	if err != nil {
		return err
	}
	if err := g.openAccess(p.auth); err != nil {
		return err
	}
	if err := g.broker.SetMaxMessage(o.Limits.WithDefaults().Frame); err != nil {
		return err
	}
	g.policy.Store(p)
	grace := g.grace.Swap(int64(o.Grace))
	g.door.SetLimits(o.Limits)
	g.regrant()
	if grace != int64(o.Grace) {
		g.wakeAll() // for another end
	}
	return nil
}

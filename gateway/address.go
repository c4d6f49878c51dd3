package gateway

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
)

const forwardedFor = "X-Forwarded-For"

// client is who sent a request. It is the key of every limit that is not a
// session's or a channel's: what else tells clients apart comes in here.
type client struct {
	addr    netip.Addr  // zero if there is none
	proxied bool        // addr is a proxy's, and whose the client is is not known
	ip      netip.Addr  // what limits by address count it to; zero if they do not
	grant   *auth.Grant // who it is, and what it may do; nil while that is not known
}

// with is the client with a grant.
func (c client) with(g *auth.Grant) client {
	c.grant = g
	return c
}

// sub is the subject of the client's token; "" if it has none.
func (c client) sub() string {
	if c.grant == nil {
		return ""
	}
	return c.grant.Subject
}

// keys is whose the client's idempotency keys are, if it has no subject: origins'
// are "", and nobody else's.
func (c client) keys() string {
	if c.grant == nil || c.grant.Source == auth.FromAPIKey || c.grant.Source == auth.FromNoKeys {
		return ""
	}
	return string(c.grant.Source)
}

// counted is whom the door counts the client's work to.
func (c client) counted() admission.Client {
	counted := admission.Client{IP: c.ip}
	if g := c.grant; g != nil {
		counted.Subject, counted.APIKey = g.Subject, g.APIKey
		counted.Trusted = g.Source == auth.FromAPIKey || g.Source == auth.FromNoKeys
	}
	return counted
}

// sends is whom the door counts what the client sends to.
func (g *Gateway) sends(c client) admission.Client {
	counted := c.counted()
	switch {
	case g.policy.Load().auth == nil: // nobody can say who they are
		counted.Known = true
	case c.grant != nil:
		counted.Known = c.grant.Source != auth.FromNobody
	}
	return counted
}

// reads is as whom the client reads the log, in turn with others, and
// subscribes: as its subject or API key, or else as its address.
func (g *Gateway) reads(c client) broker.Client {
	var key string
	switch who := c.counted(); {
	case who.Subject != "":
		key = "sub " + who.Subject
	case who.APIKey != "":
		key = "key " + who.APIKey
	case who.IP.IsValid():
		key = "address " + who.IP.String()
	}
	limits := g.limits()
	client := broker.Client{Key: key, Most: max(limits.CatchUpsPerClient, 0), Subscriptions: max(limits.SubscriptionsPerClient, 0)}
	if c.grant == nil || c.grant.Source != auth.FromAPIKey { // which stands for many
		client.Patterns = max(limits.PatternsPerClient, 0)
	}
	return client
}

// ip6Bits is how much of an IPv6 address is one client's: it has a whole /64 to choose from.
const ip6Bits = 64

// clientOf is who sent the request. Only a trusted proxy is believed when it names another.
func (g *Gateway) clientOf(r *http.Request) client {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return client{} // a Unix socket, or a test's pipe
	}
	addr := peer.Addr().Unmap().WithZone("")
	proxied := len(r.Header["Forwarded"]) > 0 || len(r.Header[forwardedFor]) > 0 // RFC 7239
	if p := g.policy.Load(); p.trusts(addr) {
		if len(r.Header[forwardedFor]) == 0 {
			return client{addr: addr} // the proxy itself, such as its health check
		}
		if named := middleware.GetClientIPAddr(r.Context()); named.IsValid() {
			addr, proxied = named, false
		} // else there is no telling who it is: it counts as the proxy
	} else if proxied {
		p.warnOf(addr)
	}
	if addr.IsLoopback() {
		return client{addr: addr, proxied: proxied} // this machine, or all that is behind a proxy on it that is not configured
	}
	if addr.Is4() {
		return client{addr: addr, proxied: proxied, ip: addr}
	}
	network, err := addr.Prefix(ip6Bits)
	if err != nil {
		return client{addr: addr, proxied: proxied}
	}
	return client{addr: addr, proxied: proxied, ip: network.Addr()}
}

// warnOf logs, once, that a peer that is not trusted says that it is a proxy.
func (p *policy) warnOf(peer netip.Addr) {
	if p.log != nil {
		p.untrusted.Do(func() {
			p.log.Warn("a request names whom it was forwarded for, and where it comes from is not in trusted_proxy: if that is a proxy of yours, "+
				"name it there, or no client behind it has an address of its own, and limits by address are the proxy's, or nobody's on this machine", "peer", peer)
		})
	}
}

func (p *policy) trusts(addr netip.Addr) bool {
	for _, network := range p.proxies {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// followProxies finds out whom trusted proxies name: the header is walked from
// its right end, past those that are trusted themselves.
func (p *policy) followProxies(next http.Handler) http.Handler {
	trusted := make([]string, len(p.proxies))
	for i, network := range p.proxies {
		trusted[i] = network.String()
	}
	walked := middleware.ClientIPFromXFF(trusted...)(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nodes := portless(r.Header[forwardedFor])
		if p.forwarded { // then proxies let the other header through, whoever wrote it
			nodes = forwardedNodes(r.Header.Values("Forwarded"))
		}
		delete(r.Header, forwardedFor)
		if len(nodes) > 0 {
			r.Header[forwardedFor] = nodes
		}
		walked.ServeHTTP(w, r)
	})
}

// portless is X-Forwarded-For without the ports that some proxies write into it.
func portless(lines []string) (nodes []string) {
	for _, line := range lines {
		for node := range strings.SplitSeq(line, ",") {
			if node = strings.TrimSpace(node); node != "" {
				node = nodeAddress(node)
			}
			nodes = append(nodes, node)
		}
	}
	return nodes
}

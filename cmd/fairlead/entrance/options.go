package entrance

import (
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Options are how clients come in. The zero value serves plain HTTP on a free
// port of this machine.
type Options struct {
	Listen string       // host:port; "" is any free port of this machine
	Logger *slog.Logger // nil: nothing is logged

	// Cert and Key are PEM files, a certificate with its chain and its key, to
	// serve HTTPS with. They are read again as they change.
	Cert, Key string
	ACME      ACME          // or where such certificates come from
	HSTS      time.Duration // for how long browsers are told to come by HTTPS alone; 0: they are told nothing

	// ProxyProtocol is that connections of TrustedProxies must begin with a
	// header of that protocol, and have the address in there.
	ProxyProtocol bool

	// What follows may change while the entrance serves: see Reload.

	TrustedProxies   []netip.Prefix // their connections count to no address
	Connections      int            // at a time; 0: as many as the process may open files, less what the rest needs
	ConnectionsPerIP int            // of those, how many from one address; 0: a quarter

	Header     int           // bytes of a request's header; 0: 32 KiB
	HeaderWait time.Duration // how long a request's header may take to arrive, and so the PROXY protocol's, and TLS; 0: 10 s
	Idle       time.Duration // how long a connection may wait for its next request; 0: 2 minutes
	WriteStall time.Duration // how long a connection of HTTP/2 may take nothing of what is written: a deadline of the handler ends a stream there, and not the write; 0: 30 s
}

// ACME is what to ask an ACME server for.
type ACME struct {
	Domains     []string // each gets a certificate of its own; none: nothing is asked for
	Email       string   // where the server may write about them
	Directory   string   // its URL; "" is Let's Encrypt's
	AcceptTerms bool     // without it the server gives nothing
	Cache       string   // the directory in which certificates and keys are kept; it is required
}

// withDefaults are the options with a value for each limit that has none.
func (o Options) withDefaults() *Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	room := connectionsFor(openFiles())
	if o.Connections > room {
		o.Logger.Warn("limits.connections is more than this process has files for: raise its limit of open files (ulimit -n)", "limits.connections", o.Connections, "room", room)
	}
	o.Connections = cmp.Or(o.Connections, room)
	o.ConnectionsPerIP = cmp.Or(o.ConnectionsPerIP, max(o.Connections/4, 1))
	o.Header = cmp.Or(o.Header, 32<<10)
	o.HeaderWait = cmp.Or(o.HeaderWait, 10*time.Second)
	o.Idle = cmp.Or(o.Idle, 2*time.Minute)
	o.WriteStall = cmp.Or(o.WriteStall, 30*time.Second)
	return &o
}

// requestsAs tells whether the limits of requests are those of other.
func (o *Options) requestsAs(other *Options) bool {
	return o.Header == other.Header && o.HeaderWait == other.HeaderWait && o.Idle == other.Idle && o.WriteStall == other.WriteStall
}

// trust tells whether ip is that of a trusted proxy.
func (o *Options) trust(ip netip.Addr) bool {
	return slices.ContainsFunc(o.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// ipOf is the IP of an address: zero if it has none.
func ipOf(addr net.Addr) netip.Addr {
	at, _ := netip.ParseAddrPort(addr.String())
	return at.Addr().Unmap().WithZone("")
}

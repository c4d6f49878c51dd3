package main

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
)

// addressed is a connection from somewhere.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	proxies, err := parseNetworks("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	c := countConnections(nil, &config{TrustedProxy: proxies, Limits: limitsConfig{Connections: 12}}, slog.New(slog.DiscardHandler))
	enter := func(from string) bool { return c.enter(c.ipOf(addressed{from: from})) }
	for i, from := range []string{"192.0.2.7:1", "192.0.2.7:2", "[::ffff:192.0.2.7]:3"} {
		if !enter(from) {
			t.Errorf("connection %d of a quarter is refused", i)
		}
	}
	for from, want := range map[string]bool{"192.0.2.7:4": false, "192.0.2.8:1": true, "127.0.0.1:1": true, "10.1.2.3:1": true} {
		if enter(from) != want {
			t.Errorf("%s: want %v", from, want)
		}
	}
	c.leave(c.ipOf(addressed{from: "192.0.2.7:1"}))
	if !enter("192.0.2.7:5") || enter("192.0.2.7:6") {
		t.Error("what one has left another may have, once")
	}
	for i, from := range []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:0:1::]:1"} { // one /64
		if !enter(from) {
			t.Errorf("IPv6, connection %d of a quarter is refused", i)
		}
	}
	if enter("[2001:db8::4]:1") {
		t.Error("one /64 has more than a quarter")
	}
	c.trust(append(proxies, netip.MustParsePrefix("192.0.2.7/32"))) // a reload has made a proxy of it
	if !enter("192.0.2.7:7") {
		t.Error("what is a trusted proxy now counts as before")
	}
	for enter("10.1.2.3:1") {
	}
	if got := c.open.Load(); got != c.most {
		t.Errorf("%d connections are open, want %d", got, c.most)
	}
}

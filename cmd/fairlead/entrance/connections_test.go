package entrance

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
)

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	var options atomic.Pointer[Options]
	trusting := func(proxies ...string) {
		o := Options{Connections: 12}
		for _, proxy := range proxies {
			o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(proxy))
		}
		options.Store(o.withDefaults())
	}
	trusting("10.0.0.0/8")
	c := countConnections(nil, &options)
	enter := func(from string) bool {
		_, ok := c.enter(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)))
		return ok
	}
	for i, from := range []string{"192.0.2.7:1", "192.0.2.7:2", "[::ffff:192.0.2.7]:3"} {
		if !enter(from) {
			t.Errorf("connection %d of a quarter is refused", i)
		}
	}
	for from, want := range map[string]bool{"192.0.2.7:4": false, "192.0.2.8:1": true, "127.0.0.1:1": true, "10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true} {
		if enter(from) != want {
			t.Errorf("%s: want %v", from, want)
		}
	}
	before := c.count()
	c.leave(netip.MustParseAddr("192.0.2.7"))
	c.leave(netip.Addr{}) // the proxy's
	if got := c.count(); got != before-2 {
		t.Errorf("%d connections are open, want %d", got, before-2)
	}
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
	trusting("10.0.0.0/8", "192.0.2.7/32") // a reload has made a proxy of it
	if !enter("192.0.2.7:7") {
		t.Error("what is a trusted proxy now counts as before")
	}
	for enter("10.1.2.3:1") {
	}
	if c.open != 12 {
		t.Errorf("%d connections are open, want 12", c.open)
	}
}

func TestHowManyConnectionsAProcessMayHave(t *testing.T) {
	for files, want := range map[int]int{64: 32, 256: 128, 1024: 896, 1280: 1152, 20000: 18000, 1 << 20: 1<<20 - 1<<20/10} {
		if got := connectionsFor(files); got != want {
			t.Errorf("with %d files: %d, want %d", files, got, want)
		}
	}
}

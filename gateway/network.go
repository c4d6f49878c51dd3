package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
)

// How much of a client's address is its network: what one office or household has.
const (
	netBits4 = 24
	netBits6 = 48
)

// netOf is the hint of the client's network (PROTOCOL.md 2.4), or "" if it is
// not known: a proxy's address says nothing of it.
func (g *Gateway) netOf(c client) string {
	if c.proxied {
		return ""
	}
	return netHint(g.netKey, c.addr)
}

// netHint is the hint of the network of addr: the first 9 bytes of the
// HMAC-SHA-256 of its prefix, such as 192.0.2.0/24 or 2001:db8:1::/48.
func netHint(key []byte, addr netip.Addr) string {
	addr = addr.Unmap()
	bits := netBits6
	if addr.Is4() {
		bits = netBits4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil || !prefix.IsValid() {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(prefix.String())) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:9])
}

package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// networks are IP networks; a single address is one of itself.
type networks []netip.Prefix

// parseNetworks parses networks with commas between them, or none. Its error is what is allowed.
func parseNetworks(s string) (n networks, err error) {
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		network, err := netip.ParsePrefix(part)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(part); err == nil {
				network, err = addr.Prefix(addr.BitLen())
			}
		}
		if err != nil || network.Addr().Is4In6() || network.Addr().Zone() != "" {
			return nil, fmt.Errorf("addresses or networks with commas between them, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")
		}
		n = append(n, network.Masked())
	}
	return n, nil
}

// String is the networks as parseNetworks reads them.
func (n networks) String() string {
	parts := make([]string, len(n))
	for i, network := range n {
		parts[i] = network.String()
	}
	return strings.Join(parts, ", ")
}

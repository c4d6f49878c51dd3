package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/fairlead/fairlead/gateway"
)

// checkOrigin is gateway.CheckOrigin, whose error is what is allowed.
func checkOrigin(s string) error {
	if gateway.CheckOrigin(s) != nil {
		return fmt.Errorf("origins as browsers write them, such as https://app.example.com, https://*.example.com or *: a scheme and a host in lower case, without a path and the scheme's own port (%s)", s)
	}
	return nil
}

// isPlainOrigin tells whether pages of the origin come without TLS, and from
// elsewhere: whoever is on the way can change them.
func isPlainOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "http" && !isLocalHost(u.Hostname())
}

// isLocalHost tells whether host is this machine by any name or address: without asking anybody.
func isLocalHost(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

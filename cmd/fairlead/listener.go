package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// listen opens the listener for clients. With proxy_protocol a connection of a
// trusted proxy must begin with that protocol's header, and its address is then
// the one in there; anybody else's begins with HTTP, as ever.
func (c *config) openListener(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose another address with --listen", c.Listen, err)
	}
	if !c.ProxyProtocol {
		return listener, nil
	}
	return c.TrustedProxy.expectHeader(listener, c.Limits.HeaderWait)
}

// expectHeader is the listener whose connections from these networks begin with a PROXY header.
func (n networks) expectHeader(listener net.Listener, wait time.Duration) (net.Listener, error) {
	ranges := make([]string, len(n))
	for i, network := range n {
		ranges[i] = network.String()
	}
	policy, err := proxyproto.PolicyFromRanges(ranges, proxyproto.REQUIRE, proxyproto.SKIP)
	if err != nil {
		return nil, fmt.Errorf("trusted_proxy: %w", err)
	}
	return &proxyproto.Listener{Listener: listener, ConnPolicy: policy, ReadHeaderTimeout: wait}, nil
}

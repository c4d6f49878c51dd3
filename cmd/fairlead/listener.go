package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pires/go-proxyproto"
)

// An entrance is where clients come in. Its connections are counted, begin with
// a header of the PROXY protocol where one is due, and then with TLS, if there
// are certificates.
type entrance struct {
	net.Listener
	connections  *connections
	certificates certificates // nil: plain HTTP
	hsts         time.Duration
}

// openListener opens the entrance. With proxy_protocol a connection of a
// trusted proxy must begin with that protocol's header, and its address is then
// the one in there; anybody else's begins with TLS or HTTP, as ever.
func (c *config) openListener(ctx context.Context, log *slog.Logger) (*entrance, error) {
	certificates, err := c.openCertificates(log)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose another address with --listen", c.Listen, err)
	}
	counted := countConnections(listener, c, log)
	e := &entrance{Listener: counted, connections: counted, certificates: certificates, hsts: c.TLS.HSTS}
	if c.ProxyProtocol {
		e.Listener, err = c.TrustedProxy.expectHeader(counted, c.Limits.HeaderWait)
	}
	return e, err
}

// serve is server.Serve with what comes in. The certificates are seen to until
// ctx is done; the handshake may take as long as a request's header.
func (e *entrance) serve(ctx context.Context, server *http.Server) error {
	if e.certificates == nil {
		return server.Serve(e.Listener)
	}
	// Not waited for: an order that is under way has a limit of its own, and leaves nothing half done.
	go e.certificates.keep(ctx)
	server.TLSConfig = e.certificates.config()
	server.TLSConfig.MinVersion = tls.VersionTLS12
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true) // browsers ask for it by ALPN when they open a WebSocket
	server.Protocols.SetHTTP2(true)
	server.Handler = withHSTS(server.Handler, e.hsts)
	return server.ServeTLS(e.Listener, "", "")
}

// reload reads the certificate's files again. An error: the old one goes on.
func (e *entrance) reload() error {
	if e.certificates == nil {
		return nil
	}
	return e.certificates.reload()
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

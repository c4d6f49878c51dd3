package entrance

import (
	"net"
	"sync/atomic"

	"github.com/pires/go-proxyproto"
)

// A proxied listener is one whose connections, if they are those of a trusted
// proxy, must begin with a header of the PROXY protocol, and have the address in
// there; anybody else's begin with TLS or HTTP, as ever.
type proxied struct {
	net.Listener
	options *atomic.Pointer[Options]
}

// Accept implements net.Listener. The header is awaited by the connection's first use.
func (p *proxied) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	o := p.options.Load()
	if !o.trust(ipOf(conn.RemoteAddr())) {
		return conn, nil
	}
	return proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(o.HeaderWait)), nil
}

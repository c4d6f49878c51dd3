// Package entrance is where clients come in: it counts connections, takes the
// PROXY protocol's headers and TLS off them, and serves HTTP on what is left.
package entrance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An Entrance is an address at which HTTP is served. All methods may be called concurrently.
type Entrance struct {
	options      atomic.Pointer[Options] // in force, with defaults; never changed
	bottom       listener                // of the system
	top          net.Listener            // the same, when what comes in is ready for HTTP
	connections  *connections
	certificates certificates // nil: plain HTTP
	standing     standing

	mu     sync.Mutex // guards the following
	closed bool
	// servers keep a connection as long as it lasts. The last one takes what comes
	// in; the others have what came in under the limits of before a reload. Each is a few KiB.
	servers []*http.Server
	shift   *shift // of the last one
}

// listener is a net.Listener whose Accept can be ended without closing it.
type listener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// Open listens. Certificates from files must be good. Close it, or shut it down.
func Open(ctx context.Context, o Options) (*Entrance, error) {
	e := new(Entrance)
	e.options.Store(o.withDefaults())
	o = *e.options.Load()
	var err error
	if e.certificates, err = o.openCertificates(func() time.Duration { return e.options.Load().HeaderWait }); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose another address with --listen", o.Listen, err)
	}
	e.bottom = l.(*net.TCPListener)
	e.connections = countConnections(e.bottom, &e.options)
	e.top = e.prepare(e.connections)
	return e, nil
}

// prepare takes off connections what comes before HTTP.
func (e *Entrance) prepare(l net.Listener) net.Listener {
	if e.options.Load().ProxyProtocol {
		l = &proxied{l, &e.options}
	}
	if e.certificates != nil {
		l = secured(l, e.certificates)
	}
	return l
}

// Addr is where the entrance listens.
func (e *Entrance) Addr() net.Addr { return e.bottom.Addr() }

// Serve has handler answer what comes in until the entrance is closed or shut
// down, and returns nil then. Certificates are seen to until ctx is done. It may be called once.
func (e *Entrance) Serve(ctx context.Context, handler http.Handler) error {
	if e.certificates != nil {
		// Not waited for: an order that is under way has a limit of its own, and leaves nothing half done.
		go e.certificates.keep(ctx)
		handler = withHSTS(handler, e.options.Load().HSTS)
	}
	for {
		server, shift := e.next(handler)
		if server == nil {
			return nil
		}
		err := server.Serve(shift)
		close(shift.ended)
		if !shift.over.Load() {
			return err
		}
	}
}

// maxStreams is how many requests one connection of HTTP/2 has in progress. What
// they hold before the handler counts them, and what http.Server answers itself,
// has no other bound than that of connections; in Go there are 250. No fewer,
// because clients take so many for granted until they know (RFC 9113, section
// 6.5.2), and browsers have one connection for all tabs, each of which takes one
// or two as long as it cannot open a WebSocket. Proxies open another connection.
const maxStreams = 100

// next is the server that takes what comes in from now on, or nil if nothing is
// taken in any more. Another server than before, because what one has of limits
// must not change while it serves.
func (e *Entrance) next(handler http.Handler) (*http.Server, *shift) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil
	}
	_ = e.bottom.SetDeadline(time.Time{})
	o := e.options.Load()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: o.HeaderWait, // it holds for a TLS handshake as well
		IdleTimeout:       o.Idle,
		MaxHeaderBytes:    o.Header,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: o.WriteStall},
		ConnState:         e.standing.watch(o.HeaderWait, o.Idle),
		// No WriteTimeout: streams last, and each of their writes has its own deadline.
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	e.servers, e.shift = append(e.servers, server), &shift{Listener: e.top, ended: make(chan struct{})}
	return server, e.shift
}

// Reload puts TrustedProxies and the limits of o in force for the connections
// that come from now on, and nothing else of it. Those that are there keep what
// they came with, and are not touched, though there may be too many of them now.
func (e *Entrance) Reload(o Options) {
	if last := e.put(o.withDefaults()); last != nil {
		<-last.ended // it may be about to take one more
	}
}

// put is Reload, but for the wait for the end of the shift that it returns, if it ends one.
func (e *Entrance) put(next *Options) *shift {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.options.Load()
	after := *before
	after.TrustedProxies, after.Connections, after.ConnectionsPerIP = next.TrustedProxies, next.Connections, next.ConnectionsPerIP
	after.Header, after.HeaderWait, after.Idle, after.WriteStall = next.Header, next.HeaderWait, next.Idle, next.WriteStall
	e.options.Store(&after)
	if e.shift == nil || after.requestsAs(before) {
		return nil
	}
	e.shift.over.Store(true)
	_ = e.bottom.SetDeadline(time.Unix(1, 0)) // what is in the system's queue waits there for the next server
	return e.shift
}

// ReloadCertificate reads the certificate's files again. An error: the old one goes on.
func (e *Entrance) ReloadCertificate() error {
	if e.certificates == nil {
		return nil
	}
	return e.certificates.reload()
}

// CutStuck closes the connections to which something is being written of which
// nothing was taken for that long: also where a deadline ends a request, and not
// the write, as in HTTP/2.
func (e *Entrance) CutStuck(stall time.Duration) { e.connections.cutStuck(time.Now().Add(-stall)) }

// Shutdown takes nothing in any more, and waits until what is asked has been
// answered. When ctx is done first, it ends that, and returns how many
// connections were left. WebSockets are among them, but the handler's to end.
func (e *Entrance) Shutdown(ctx context.Context) (left int, err error) {
	err = e.end(func(server *http.Server) error {
		err := server.Shutdown(ctx)
		if ctx.Err() != nil {
			return nil // of it there is more below
		}
		return err
	})
	if ctx.Err() == nil {
		return 0, err
	}
	left = e.connections.count()
	for _, server := range e.servers { // there are no more since end
		err = errors.Join(err, server.Close())
	}
	return left, err
}

// Close ends everything at once, but WebSockets, which are the handler's to end.
func (e *Entrance) Close() error { return e.end((*http.Server).Close) }

// end takes nothing in any more, and ends every server by the func.
func (e *Entrance) end(by func(*http.Server) error) error {
	e.mu.Lock()
	e.closed = true
	if e.shift != nil {
		e.shift.over.Store(true)
	}
	servers := e.servers
	e.mu.Unlock()
	errs := make([]error, len(servers)+1)
	errs[0] = e.top.Close()
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() { errs[i+1] = by(server) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A shift is a server's time at the listener, which stays open after it.
type shift struct {
	net.Listener
	over  atomic.Bool   // or soon
	ended chan struct{} // closed when the server takes nothing any more
}

var errOver = errors.New("entrance: another server takes what comes in")

// Accept implements net.Listener.
func (s *shift) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil && s.over.Load() {
		return nil, errOver // which no server tries again
	}
	return conn, err
}

// Close implements net.Listener: the server has called it, and its shift is over.
func (s *shift) Close() error { return nil }

package entrance

import (
	"errors"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections is a listener that counts its connections, and closes at once
// those that are too many. Whoever is refused knows it, tries another node or
// comes again; in the queue of the system it would wait behind others that have
// given up, and a proxy or a health check would take the silence for a dead
// host. What is there already is not touched.
type connections struct {
	net.Listener
	options *atomic.Pointer[Options]
	refused atomic.Uint64
	warned  map[string]time.Time // when each warning was logged last; owned by Accept

	mu    sync.Mutex         // guards the following
	open  int                // connections
	perIP map[netip.Addr]int // of those; none of them is 0
	taken map[*countedConn]struct{}
}

func countConnections(l net.Listener, options *atomic.Pointer[Options]) *connections {
	return &connections{Listener: l, options: options, warned: map[string]time.Time{}, perIP: map[netip.Addr]int{}, taken: map[*countedConn]struct{}{}}
}

// countsTo is what a connection of this address counts to: zero if it is none
// of a client, but of somebody who stands for many.
func (o *Options) countsTo(addr net.Addr) netip.Addr {
	ip := ipOf(addr)
	if ip.IsLoopback() || o.trust(ip) {
		return netip.Addr{}
	}
	if ip.Is6() {
		network, _ := ip.Prefix(64) // one client's
		return network.Addr()
	}
	return ip
}

// enter counts a connection, if there is room for it. ip is what it counts to.
func (c *connections) enter(addr net.Addr) (ip netip.Addr, ok bool) {
	o := c.options.Load()
	ip = o.countsTo(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= o.Connections || ip.IsValid() && c.perIP[ip] >= o.ConnectionsPerIP {
		return ip, false
	}
	c.open++
	if ip.IsValid() {
		c.perIP[ip]++
	}
	return ip, true
}

// count is how many there are.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

func (c *connections) leave(ip netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if !ip.IsValid() {
		return
	}
	if c.perIP[ip]--; c.perIP[ip] == 0 {
		delete(c.perIP, ip)
	}
}

// connectionsFor is how many connections a process may have that may open so
// many files. It leaves a tenth to the log, to NATS and to what is fetched; if
// that is little, 128; but half of all at most.
func connectionsFor(files int) int {
	return files - min(max(files/10, 128), files/2)
}

// Accept implements net.Listener. When the process is out of files it fails for
// the moment, and http.Server tries again.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			c.warn("no connection can be taken, because there are no more files to open: raise the limit (ulimit -n), or lower limits.connections", "error", err)
		}
		if err != nil {
			return nil, err
		}
		if ip, ok := c.enter(conn.RemoteAddr()); ok {
			return c.take(&countedConn{TCPConn: conn.(*net.TCPConn), of: c, ip: ip}), nil
		}
		c.refused.Add(1)
		o := c.options.Load()
		c.warn("connections are refused, because there are too many, in all or of one address: see limits.connections", "limit", o.Connections, "limit_per_ip", o.ConnectionsPerIP)
		_ = conn.(*net.TCPConn).SetLinger(0) // nothing is left behind in the system either
		_ = conn.Close()
	}
}

// warn logs each message at most once a minute. It is called by Accept alone.
func (c *connections) warn(message string, args ...any) {
	if now := time.Now(); now.Sub(c.warned[message]) >= time.Minute {
		c.warned[message] = now
		c.options.Load().Logger.Warn(message, args...)
	}
}

// take keeps a connection that was let in until it is closed.
func (c *connections) take(conn *countedConn) *countedConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken[conn] = struct{}{}
	return conn
}

// cutStuck closes those to which something is being written of which nothing was taken since before.
func (c *connections) cutStuck(before time.Time) {
	c.mu.Lock()
	taken := slices.Collect(maps.Keys(c.taken))
	c.mu.Unlock()
	for _, conn := range taken {
		if since := conn.writing.Load(); since != 0 && since <= before.UnixNano() {
			_ = conn.Close()
		}
	}
}

// countedConn is a TCP connection that tells when it is closed.
type countedConn struct {
	*net.TCPConn
	of      *connections
	ip      netip.Addr
	once    sync.Once
	writing atomic.Int64 // since when, in nanoseconds of the Unix epoch; 0 while nothing is written
}

// Write implements net.Conn. What is above writes little at a time, and waits until that is taken.
func (c *countedConn) Write(p []byte) (int, error) {
	c.writing.Store(time.Now().UnixNano())
	defer c.writing.Store(0)
	return c.TCPConn.Write(p)
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.of.leave(c.ip)
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		delete(c.of.taken, c)
	})
	return c.TCPConn.Close()
}

// unlimited is the number of files where no number is known.
const unlimited = math.MaxInt32

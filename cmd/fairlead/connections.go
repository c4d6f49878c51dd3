package main

import (
	"cmp"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connections is a listener that counts its connections, and closes at once
// those that are too many. Whoever is refused knows it, tries another node or
// comes again; in the queue of the system it would wait behind others that have
// given up, and a proxy or a health check would take the silence for a dead
// host. What is there already is not touched.
type connections struct {
	net.Listener
	most      int64
	mostPerIP int
	exempt    atomic.Pointer[networks] // who stands for many
	log       *slog.Logger

	mu    sync.Mutex         // guards the following
	perIP map[netip.Addr]int // none of them is 0

	open    atomic.Int64
	refused atomic.Uint64
	warned  map[string]time.Time // when each warning was logged last; owned by Accept
}

// countConnections allows limits.connections, or, with 0, as many as openFiles
// leaves room for; and to one address limits.connections_per_ip of them, or a quarter.
func countConnections(listener net.Listener, c *config, log *slog.Logger) *connections {
	room := connectionsFor(openFiles())
	most := int64(c.Limits.Connections)
	if most > room {
		log.Warn("limits.connections is more than this process has files for: raise its limit of open files (ulimit -n)", "limits.connections", most, "room", room)
	}
	most = cmp.Or(most, room)
	counted := &connections{
		Listener: listener, most: most, mostPerIP: cmp.Or(c.Limits.ConnectionsPerIP, int(max(most/4, 1))),
		log: log, warned: map[string]time.Time{}, perIP: map[netip.Addr]int{},
	}
	counted.trust(c.TrustedProxy)
	return counted
}

// trust makes the connections of these proxies, from now on, count to no address.
func (c *connections) trust(proxies networks) { c.exempt.Store(&proxies) }

// ipOf is the address that a connection counts to: zero if it counts to none.
func (c *connections) ipOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.IsLoopback() || slices.ContainsFunc(*c.exempt.Load(), func(n netip.Prefix) bool { return n.Contains(ip) }) {
		return netip.Addr{}
	}
	if ip.Is6() {
		network, _ := ip.Prefix(64) // one client's
		return network.Addr()
	}
	return ip
}

// enter counts a connection, if there is room for it.
func (c *connections) enter(ip netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Load() >= c.most || ip.IsValid() && c.perIP[ip] >= c.mostPerIP {
		return false
	}
	c.open.Add(1)
	if ip.IsValid() {
		c.perIP[ip]++
	}
	return true
}

func (c *connections) leave(ip netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open.Add(-1)
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
func connectionsFor(files int64) int64 {
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
		if ip := c.ipOf(conn); c.enter(ip) {
			return &countedConn{TCPConn: conn.(*net.TCPConn), of: c, ip: ip}, nil
		}
		c.refused.Add(1)
		c.warn("connections are refused, because there are too many, in all or of one address: see limits.connections", "limit", c.most, "limit_per_ip", c.mostPerIP)
		_ = conn.(*net.TCPConn).SetLinger(0) // nothing is left behind in the system either
		_ = conn.Close()
	}
}

// warn logs each message at most once a minute. It is called by Accept alone.
func (c *connections) warn(message string, args ...any) {
	if now := time.Now(); now.Sub(c.warned[message]) >= time.Minute {
		c.warned[message] = now
		c.log.Warn(message, args...)
	}
}

// countedConn is a TCP connection that tells when it is closed.
type countedConn struct {
	*net.TCPConn
	of   *connections
	ip   netip.Addr
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.of.leave(c.ip) })
	return c.TCPConn.Close()
}

var (
	descConnections        = prometheus.NewDesc("fairlead_connections", "Open connections of clients and origins.", nil, nil)
	descConnectionsMost    = prometheus.NewDesc("fairlead_connections_limit", "How many there may be.", nil, nil)
	descConnectionsRefused = prometheus.NewDesc("fairlead_connections_refused_total", "Connections closed at once because there were too many.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *connections) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *connections) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descConnections, prometheus.GaugeValue, float64(c.open.Load()))
	ch <- prometheus.MustNewConstMetric(descConnectionsMost, prometheus.GaugeValue, float64(c.most))
	ch <- prometheus.MustNewConstMetric(descConnectionsRefused, prometheus.CounterValue, float64(c.refused.Load()))
}

// unlimited is the number of files where no number is known.
const unlimited = math.MaxInt32

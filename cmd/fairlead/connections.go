package main

import (
	"errors"
	"log/slog"
	"math"
	"net"
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
	most int64
	log  *slog.Logger

	open    atomic.Int64
	refused atomic.Uint64
	warned  atomic.Int64 // when there were too many last, in Unix seconds
}

// countConnections allows most connections, or, with 0, as many as openFiles leaves room for.
func countConnections(listener net.Listener, most int, log *slog.Logger) *connections {
	room := connectionsFor(openFiles())
	if int64(most) > room {
		log.Warn("limits.connections is more than this process has files for: raise its limit of open files (ulimit -n)", "limits.connections", most, "room", room)
	}
	if most == 0 {
		return &connections{Listener: listener, most: room, log: log}
	}
	return &connections{Listener: listener, most: int64(most), log: log}
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
		if c.open.Add(1) <= c.most {
			return &countedConn{TCPConn: conn.(*net.TCPConn), of: c}, nil
		}
		c.open.Add(-1)
		c.refused.Add(1)
		c.warn("connections are refused, because there are too many: see limits.connections", "limit", c.most)
		_ = conn.(*net.TCPConn).SetLinger(0) // nothing is left behind in the system either
		_ = conn.Close()
	}
}

// warn logs at most once a minute. It is called by Accept alone.
func (c *connections) warn(message string, args ...any) {
	now := time.Now().Unix()
	if now-c.warned.Swap(now) >= 60 {
		c.log.Warn(message, args...)
	}
}

// countedConn is a TCP connection that tells when it is closed.
type countedConn struct {
	*net.TCPConn
	of   *connections
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
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

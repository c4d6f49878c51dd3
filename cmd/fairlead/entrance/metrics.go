package entrance

import (
	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descConnections = prometheus.NewDesc("fairlead_connections", "Open connections of clients and origins.", nil, nil)
	descLimit       = prometheus.NewDesc("fairlead_connections_limit", "How many there may be.", nil, nil)
	descRefused     = prometheus.NewDesc("fairlead_connections_refused_total", "Connections closed at once because there were too many.", nil, nil)
	descTimedOut    = prometheus.NewDesc("fairlead_connections_timed_out_total", "Connections ended because nothing came for as long as the limit, or no whole header.", []string{"limit"}, nil)
	descNotAfter    = prometheus.NewDesc("fairlead_certificate_not_after_timestamp_seconds", "When the certificate ends, by the first of its names.", []string{"name"}, nil)
	descFailures    = prometheus.NewDesc("fairlead_acme_failures_total", "Attempts to get a certificate by ACME that failed, and the hourly looks that found it not renewed in time.", []string{"name"}, nil)
)

// Describe implements prometheus.Collector.
func (e *Entrance) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements prometheus.Collector.
func (e *Entrance) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descConnections, prometheus.GaugeValue, float64(e.connections.count()))
	ch <- prometheus.MustNewConstMetric(descLimit, prometheus.GaugeValue, float64(e.options.Load().Connections))
	ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(e.connections.refused.Load()))
	ch <- prometheus.MustNewConstMetric(descTimedOut, prometheus.CounterValue, float64(e.standing.headerWait.Load()), "header_wait")
	ch <- prometheus.MustNewConstMetric(descTimedOut, prometheus.CounterValue, float64(e.standing.idle.Load()), "idle")
	if e.certificates != nil {
		e.certificates.collect(ch)
	}
}

// notAfter is the series of a certificate.
func notAfter(name string, leaf *x509.Certificate) prometheus.Metric {
	return prometheus.MustNewConstMetric(descNotAfter, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()), name)
}

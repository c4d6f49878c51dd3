package entrance

import "github.com/prometheus/client_golang/prometheus"

var (
	descConnections = prometheus.NewDesc("fairlead_connections", "Open connections of clients and origins.", nil, nil)
	descLimit       = prometheus.NewDesc("fairlead_connections_limit", "How many there may be.", nil, nil)
	descRefused     = prometheus.NewDesc("fairlead_connections_refused_total", "Connections closed at once because there were too many.", nil, nil)
)

// Describe implements prometheus.Collector.
func (e *Entrance) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements prometheus.Collector.
func (e *Entrance) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descConnections, prometheus.GaugeValue, float64(e.connections.count()))
	ch <- prometheus.MustNewConstMetric(descLimit, prometheus.GaugeValue, float64(e.options.Load().Connections))
	ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(e.connections.refused.Load()))
}

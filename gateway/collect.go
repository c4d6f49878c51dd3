package gateway

import "github.com/prometheus/client_golang/prometheus"

// Collect shows what the collector has in /metrics as well. It may be called at any time.
func (g *Gateway) Collect(c prometheus.Collector) error { return g.metrics.registry.Register(c) }

// doorCollector shows how much of what is for all clients together is taken, and how much there is.
type doorCollector struct{ g *Gateway }

var (
	descPlaces  = prometheus.NewDesc("fairlead_attachment_places", "Places that are taken by attachments, those that are still beginning, and polls that wait.", nil, nil)
	descBodies  = prometheus.NewDesc("fairlead_bodies_bytes", "Bytes of bodies and messages that are still coming.", nil, nil)
	descPending = prometheus.NewDesc("fairlead_pending_bytes", "Bytes that wait to be written to clients.", nil, nil)
	descLimit   = prometheus.NewDesc("fairlead_limit", "What the limits of the three above are; -1 for none.", []string{"limit"}, nil)
)

// Describe implements prometheus.Collector.
func (c doorCollector) Describe(ch chan<- *prometheus.Desc) { // without the door, which is made later
	for _, d := range []*prometheus.Desc{descPlaces, descBodies, descPending, descLimit} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c doorCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	taken, limits := c.g.door.Taken(), c.g.limits()
	gauge(descPlaces, taken.Places)
	gauge(descBodies, taken.Bodies)
	gauge(descPending, taken.Pending)
	gauge(descLimit, limits.Attachments, "attachments")
	gauge(descLimit, limits.Bodies, "bodies")
	gauge(descLimit, limits.Pending, "pending")
}

package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// metrics are what /metrics shows. All labels have few values.
type metrics struct {
	registry    *prometheus.Registry
	attachments *prometheus.GaugeVec // by transport
	in          prometheus.Counter   // messages stored
	bytesIn     prometheus.Counter
	publish     prometheus.Histogram
	errors      *prometheus.CounterVec // by code
	refused     *prometheus.CounterVec // by limit
	panics      prometheus.Counter
	out         map[protocol.Transport]outMetrics
}

// outMetrics are of one transport, looked up once instead of for each message.
type outMetrics struct {
	messages, bytes prometheus.Counter
	delivery        prometheus.Observer
}

// seconds are the buckets of latencies, from a tenth of a millisecond.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newMetrics(g *Gateway) *metrics {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		attachments: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_attachments", Help: "Live attachments; for poll, requests that wait."}, []string{"transport"}),
		in:          prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_messages_in_total", Help: "Messages stored, duplicates included."}),
		bytesIn:     prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_bytes_in_total", Help: "Bytes of frames and request bodies received."}),
		publish:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairlead_publish_seconds", Help: "From a publish to its acknowledgement by the log.", Buckets: seconds}),
		errors:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_errors_total", Help: "Errors that clients were told of."}, []string{"code"}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_refused_total", Help: "What was refused or cut off because it was over a limit."}, []string{"limit"}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_panics_total", Help: "Requests and connections that were ended by a bug, which is in the log."}),
		out:         make(map[protocol.Transport]outMetrics),
	}
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_messages_out_total", Help: "Messages and gaps sent."}, []string{"transport"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_bytes_out_total", Help: "Bytes written to attachments."}, []string{"transport"})
	delivery := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_delivery_seconds", Help: "From storing a message to writing it to an attachment that was there.", Buckets: seconds}, []string{"transport"})
	for _, t := range protocol.Transports() {
		m.attachments.WithLabelValues(string(t))
		m.out[t] = outMetrics{messages.WithLabelValues(string(t)), bytes.WithLabelValues(string(t)), delivery.WithLabelValues(string(t))}
	}
	version := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": g.options.Version}})
	version.Set(1)
	m.registry.MustRegister(m.attachments, m.in, m.bytesIn, m.publish, m.errors, m.refused, m.panics, messages, bytes, delivery, version,
		brokerCollector{g.broker}, doorCollector{g}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (g *Gateway) countError(e *protocol.Error) {
	g.metrics.errors.WithLabelValues(string(e.Code)).Inc()
}

// countRefused counts something that was refused because it was over that limit.
func (g *Gateway) countRefused(limit string) { g.metrics.refused.WithLabelValues(limit).Inc() }

// brokerCollector shows the broker's counts.
type brokerCollector struct{ broker *broker.Broker }

var (
	descCatchUps   = prometheus.NewDesc("fairlead_catch_ups_total", "Times that readers caught up, by where from.", []string{"source"}, nil)
	descGaps       = prometheus.NewDesc("fairlead_gaps_total", "Gaps that readers were told of.", []string{"reason"}, nil)
	descBehind     = prometheus.NewDesc("fairlead_behind_total", "Times that the tail moved past a reader.", nil, nil)
	descPublished  = prometheus.NewDesc("fairlead_published_total", "Publishes by outcome.", []string{"outcome"}, nil)
	descDisk       = prometheus.NewDesc("fairlead_disk_refusals_total", "Publishes refused because the disk is full.", nil, nil)
	descUnreadable = prometheus.NewDesc("fairlead_unreadable_total", "Messages of the stream that are none of a channel.", nil, nil)
	descTail       = prometheus.NewDesc("fairlead_tail_bytes", "Memory that the tail holds.", nil, nil)
	descMessages   = prometheus.NewDesc("fairlead_tail_messages", "Messages in the tail.", nil, nil)
	descChannels   = prometheus.NewDesc("fairlead_tail_channels", "Channels in the tail, or followed.", nil, nil)
	descHead       = prometheus.NewDesc("fairlead_log_sequence", "The position up to which this node has followed the log.", nil, nil)
	descWaiting    = prometheus.NewDesc("fairlead_catch_ups_waiting", "Readers that wait for the stored log.", nil, nil)
	descClients    = prometheus.NewDesc("fairlead_catch_ups_waiting_clients", "Clients whose readers wait for the stored log, in turn.", nil, nil)
	descPages      = prometheus.NewDesc("fairlead_history_waiting", "Pages of history that wait for the stored log.", nil, nil)
	descReading    = prometheus.NewDesc("fairlead_log_reads", "Reads of the stored log that are under way.", nil, nil)
)

func (c brokerCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c brokerCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.broker.Stats()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter(descCatchUps, s.CatchUpsFromTail, "tail")
	counter(descCatchUps, s.CatchUpsFromLog, "log")
	for reason, n := range s.Gaps {
		counter(descGaps, n, reason)
	}
	counter(descBehind, s.Behind)
	counter(descPublished, s.Published, "stored")
	counter(descPublished, s.Duplicates, "duplicate")
	counter(descPublished, s.PublishErrors, "failed")
	counter(descDisk, s.DiskRefusals)
	counter(descUnreadable, s.Unreadable)
	gauge(descTail, s.TailBytes)
	gauge(descMessages, s.TailMessages)
	gauge(descChannels, s.Channels)
	gauge(descHead, int(s.Head))
	gauge(descWaiting, s.Waiting)
	gauge(descClients, s.WaitingClients)
	gauge(descPages, s.WaitingHistory)
	gauge(descReading, s.Reading)
}

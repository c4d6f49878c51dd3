package gateway

import "github.com/prometheus/client_golang/prometheus"

// Collect shows what the collector has in /metrics as well. It may be called at any time.
func (g *Gateway) Collect(c prometheus.Collector) error { return g.metrics.registry.Register(c) }

package entrance

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// wantSeries checks those of the certificates' series that are named as name{label}.
func wantSeries(t *testing.T, c certificates, want map[string]float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collector{c}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, series := range family.Metric {
			got[family.GetName()+"{"+series.Label[0].GetValue()+"}"] = series.GetGauge().GetValue() + series.GetCounter().GetValue()
		}
	}
	for name, value := range want {
		if at, there := got[name]; !there || at != value {
			t.Errorf("%s is %v, want %v, of %v", name, at, value, got)
		}
	}
}

// collector is a collector of certificates alone.
type collector struct{ certificates }

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }
func (c collector) Collect(ch chan<- prometheus.Metric) { c.collect(ch) }

func TestACertificateFromFilesTellsWhenItEnds(t *testing.T) {
	a := certtest.New(t)
	cert, key := a.Files()
	until := time.Now().Add(100 * time.Hour)
	for _, c := range []struct {
		names []string
		want  string
	}{{[]string{"rt.example.com"}, "rt.example.com"}, {nil, "localhost"}} {
		a.Issue(cert, key, 3, until, c.names...)
		e := open(t, Options{Cert: cert, Key: key}, whence)
		wantSeries(t, e.certificates, map[string]float64{"fairlead_certificate_not_after_timestamp_seconds{" + c.want + "}": float64(until.Unix())})
		registry := prometheus.NewPedanticRegistry()
		if err := registry.Register(e); err != nil {
			t.Fatal(err)
		}
		if families, err := registry.Gather(); err != nil || len(families) != 5 {
			t.Errorf("got %v, %v", families, err)
		}
	}
}

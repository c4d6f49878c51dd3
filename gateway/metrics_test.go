package gateway

import (
	"bufio"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// metrics are all samples of this project's, by name and labels.
func (w *world) metrics() map[string]float64 {
	w.t.Helper()
	samples := map[string]float64{}
	lines := bufio.NewScanner(w.send(w.keyed(request{method: "GET", path: "/metrics"})).Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "fairlead_") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.t.Fatalf("%s: %v", lines.Text(), err)
		}
		samples[name] = n
	}
	return samples
}

var metricName = regexp.MustCompile(`^[a-z_]+`)

func TestEverythingThatHappensIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Version: "1.2.3", Limits: Limits{Channels: 2, History: 10}}, broker.Options{})
		var links []*link
		for _, transport := range protocol.Transports() {
			links = append(links, w.attach(transport, `{"wait":0,"channels":{"a":{}}}`))
		}
		time.Sleep(time.Second)
		publish := poster("a", "text/plain", "12345")
		publish.headers += "\nIdempotency-Key: k"
		w.call(publish)
		w.call(publish)
		for _, l := range links {
			l.want("message")
		}
		w.call(poster("a", "application/json", `[{"data":1},{"data":2}]`))
		w.call(request{method: "DELETE", path: "/v1/channels/a/messages"})
		w.call(poster("a", "text/plain", strings.Repeat("x", 300<<10)))
		w.call(request{method: "GET", path: "/v1/channels/a/messages?limit=11"})
		w.call(request{method: "GET", path: "/v1/attach?channel=a&channel=b&channel=c"})
		links[0].sendText(`{"op":"dance"}`)
		for _, transport := range streams {
			w.attach(transport, `{"channels":{"a":{"after":"other-1"}}}`).want("gap")
		}
		got := w.metrics()
		for name, want := range map[string]float64{
			`fairlead_attachments{transport="websocket"}`:      2,
			`fairlead_attachments{transport="sse"}`:            2,
			`fairlead_attachments{transport="stream"}`:         2,
			`fairlead_attachments{transport="poll"}`:           0,
			`fairlead_messages_in_total`:                       4,
			`fairlead_publish_seconds_count`:                   2,
			`fairlead_published_total{outcome="stored"}`:       4, // a purge's mark is one
			`fairlead_published_total{outcome="duplicate"}`:    1,
			`fairlead_published_total{outcome="failed"}`:       0,
			`fairlead_refused_total{limit="frame"}`:            1,
			`fairlead_refused_total{limit="history"}`:          1,
			`fairlead_refused_total{limit="channels"}`:         1,
			`fairlead_errors_total{code="too_large"}`:          1,
			`fairlead_errors_total{code="bad_request"}`:        3,
			`fairlead_gaps_total{reason="replaced"}`:           3,
			`fairlead_log_sequence`:                            4,
			`fairlead_attachment_places`:                       6,
			`fairlead_bodies_bytes`:                            0,
			`fairlead_limit{limit="attachments"}`:              100_000,
			`fairlead_limit{limit="bodies"}`:                   256 << 20,
			`fairlead_limit{limit="pending"}`:                  256 << 20,
			`fairlead_info{version="1.2.3"}`:                   1,
			`fairlead_tail_channels`:                           1,
			`fairlead_disk_refusals_total`:                     0,
			`fairlead_unreadable_total`:                        0,
			`fairlead_behind_total`:                            0,
			`fairlead_catch_ups_waiting`:                       0,
			`fairlead_catch_ups_total{source="log"}`:           got[`fairlead_catch_ups_total{source="log"}`],
			`fairlead_messages_out_total{transport="poll"}`:    1,
			`fairlead_delivery_seconds_count{transport="sse"}`: got[`fairlead_delivery_seconds_count{transport="stream"}`],
		} {
			if n, ok := got[name]; !ok || n != want {
				t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
			}
		}
		for _, name := range []string{`fairlead_bytes_in_total`, `fairlead_bytes_out_total{transport="websocket"}`, `fairlead_bytes_out_total{transport="sse"}`, `fairlead_bytes_out_total{transport="stream"}`,
			`fairlead_bytes_out_total{transport="poll"}`, `fairlead_pending_bytes`, `fairlead_tail_bytes`, `fairlead_tail_messages`, `fairlead_delivery_seconds_count{transport="websocket"}`} {
			if got[name] <= 0 {
				t.Errorf("%s is %v", name, got[name])
			}
		}
		for _, l := range links {
			l.hangUp()
		}
	})
}

// What clients send never becomes a label.
func TestNoLabelGrowsWithItsClients(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		names := func() string {
			seen := map[string]bool{}
			for sample := range w.metrics() {
				seen[metricName.FindString(sample)+strings.Join(regexp.MustCompile(`[a-z_]+=`).FindAllString(sample, -1), "")] = true
			}
			return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
		}
		busy := func(name string) int {
			w.attach(protocol.WebSocket, `{"session":"`+name+`","channels":{"`+name+`":{}}}`).hangUp()
			w.call(poster(name, "text/plain", name))
			w.call(poster(name+"..", "text/plain", name))
			w.call(request{method: "GET", path: "/v1/" + name})
			w.settle()
			return len(w.metrics())
		}
		first := busy("some-channel")
		for _, name := range []string{"one-more", "and-another"} {
			if n := busy(name); n != first {
				t.Errorf("%d samples became %d", first, n)
			}
		}
		for sample := range w.metrics() {
			if strings.Contains(sample, "one-more") {
				t.Errorf("a client's word is in %s", sample)
			}
		}
		if s := names(); strings.Contains(s, "session=") || strings.Contains(s, "channel=") {
			t.Error(s)
		}
	})
}

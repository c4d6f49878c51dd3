package probe

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/doctor"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/protocol"
)

// serveGateway serves a real one.
func serveGateway(t *testing.T) string {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(b, gateway.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g.Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		_ = b.Close(t.Context())
	})
	return server.URL
}

func TestARealGatewayHasNothingWrong(t *testing.T) {
	var told []string
	report, err := Run(t.Context(), serveGateway(t), Options{Each: func(p doctor.Probe) { told = append(told, p.Name) }})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Works || report.Transport != string(protocol.WebSocket) || report.RTT <= 0 || len(report.Advice) != 0 {
		t.Errorf("got %+v", report)
	}
	want := []string{"reach", "websocket", "sse", "stream", "poll"}
	for i, p := range report.Probes {
		if p.Name != want[i] || told[i] != want[i] || !p.OK || len(p.Findings) != 0 {
			t.Errorf("got %+v, told %s", p, told)
		}
		if streams := p.Name != "reach" && p.Name != "poll"; streams && (p.Welcome <= 0 || p.Proof-p.Welcome < 150) {
			t.Errorf("the frames are 250 ms apart: got %+v", p)
		}
	}
}

// A proxy that knows nothing of WebSocket, and does not hold streams back.
func TestARealGatewayBehindAPlainProxy(t *testing.T) {
	upstream, err := url.Parse(serveGateway(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		r.Out.Header.Del("Upgrade")
		r.Out.Header.Del("Connection")
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Via", "1.1 office")
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	report, err := Run(t.Context(), server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := doctor.NewWriter(io.Discard, server.URL)
	for _, p := range report.Probes {
		w.Probe(p)
	}
	if err := w.Conclusion(report); err != nil {
		t.Error(err)
	}
	if socket := report.Probes[1]; report.Transport != string(protocol.SSE) || len(socket.Findings) != 1 || socket.Findings[0].Code != "upgrade_lost" {
		t.Errorf("got %+v", report)
	}
	if reach := report.Probes[0]; len(reach.Findings) != 1 || reach.Findings[0].Text != "On the way: 1.1 office." {
		t.Errorf("got %+v", reach)
	}
}

func TestAnAddressThatIsNone(t *testing.T) {
	for _, address := range []string{"", "gateway", "gateway:8080", "ftp://gateway", "http://", "http://a b"} {
		if _, err := Run(t.Context(), address, Options{}); err == nil || Check(address) == nil {
			t.Errorf("%q is taken for an address", address)
		}
	}
}

package probe

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/protocol"
)

// serveGateway serves a real one, as start says.
func serveGateway(t *testing.T, start func(*httptest.Server)) *httptest.Server {
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
	server := httptest.NewUnstartedServer(g.Handler())
	start(server)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		_ = b.Close(t.Context())
	})
	return server
}

func TestARealGatewayHasNothingWrong(t *testing.T) {
	var told []string
	server := serveGateway(t, (*httptest.Server).Start)
	report, err := Run(t.Context(), server.URL, Options{Each: func(p doctor.Probe) { told = append(told, p.Name) }})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Works || report.Transport != string(protocol.WebSocket) || report.RTT <= 0 {
		t.Errorf("got %+v", report)
	}
	want := []string{"reach", "websocket", "sse", "stream", "poll"}
	for i, p := range report.Probes {
		if p.Name != want[i] || told[i] != want[i] || !p.OK || codes(p) != "" {
			t.Errorf("got %+v, told %s", p, told)
		}
		if streams := p.Name != "reach" && p.Name != "poll"; streams && (p.Welcome <= 0 || p.Proof <= p.Welcome) {
			t.Errorf("got %+v", p)
		}
	}
}

// codes are those of the findings that do not hang on how busy this machine is.
func codes(p doctor.Probe) string {
	var codes []string
	for _, f := range p.Findings {
		if !slices.Contains([]string{"delayed", "bunched", "slow"}, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return strings.Join(codes, " ")
}

// HTTP/2 has no upgrade: the WebSocket takes HTTP/1.1.
func TestARealGatewayBehindTLSAndHTTP2(t *testing.T) {
	server := serveGateway(t, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	report, err := Run(t.Context(), server.URL, Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Probes {
		if want := map[string]string{"reach": "tls_issuer"}[p.Name]; !p.OK || codes(p) != want {
			t.Errorf("got %+v", p)
		}
	}
	if report.Probes[0].Connect <= 0 || report.Probes[0].TLS <= 0 {
		t.Errorf("the steps took no time: %+v", report.Probes[0])
	}
}

// A proxy that knows nothing of WebSocket, and does not hold streams back.
func TestARealGatewayBehindAPlainProxy(t *testing.T) {
	upstream, err := url.Parse(serveGateway(t, (*httptest.Server).Start).URL)
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
	if socket := report.Probes[1]; report.Transport != string(protocol.SSE) || codes(socket) != "upgrade_lost" {
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

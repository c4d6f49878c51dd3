package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestCertificatesComeFromAnACMEServer has a real one look for the gateway by its name.
func TestCertificatesComeFromAnACMEServer(t *testing.T) {
	const name = "rt.example.test"
	server := startACME(t)
	program, data := buildProgram(t), t.TempDir()
	serve := func() (address string, visit func(*tls.Config) (*tls.ConnectionState, error), stop func()) {
		t.Helper()
		cmd := exec.Command(program, "--listen=127.0.0.1:0", "--drain=10ms", "--limits-header-wait=1m", "--data", data,
			"--acme-domains", name, "--acme-accept-terms", "--acme-directory", server.directory, "--acme-email=ops@example.test")
		cmd.Env = []string{"SSL_CERT_FILE=" + server.trusted}
		url, stop := startLogged(t, cmd, func(line string) { t.Log(line) })
		port, ok := strings.CutPrefix(url, "https://"+name)
		if !ok {
			t.Fatalf("the banner says %s", url)
		}
		address = "127.0.0.1" + port
		server.sendTo(address)
		return address, func(config *tls.Config) (*tls.ConnectionState, error) {
			config.RootCAs = server.issuer
			conn, err := tls.Dial("tcp", address, config)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			state := conn.ConnectionState()
			return &state, nil
		}, stop
	}

	address, visit, stop := serve()
	first, err := visit(&tls.Config{ServerName: name, NextProtos: []string{"h2"}}) // it waits for the certificate
	if err != nil {
		t.Fatal(err)
	}
	if first.NegotiatedProtocol != "h2" {
		t.Errorf("got %q", first.NegotiatedProtocol)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: server.issuer, ServerName: name}}}
	if response, err := client.Get("https://" + address + "/healthz"); err != nil || response.StatusCode != 200 {
		t.Errorf("got %+v, %v", response, err)
	}
	metrics := string(answer(t, client, "https://"+address+"/metrics"))
	for _, series := range []string{
		fmt.Sprintf("fairlead_certificate_not_after_timestamp_seconds{name=%q} %v\n", name, float64(first.PeerCertificates[0].NotAfter.Unix())),
		fmt.Sprintf("fairlead_acme_failures_total{name=%q} 0\n", name),
	} {
		if !strings.Contains(metrics, series) {
			t.Errorf("the metrics lack %s", series)
		}
	}
	for who, config := range map[string]*tls.Config{
		"another name":   {ServerName: "other.example.test"},
		"a name below":   {ServerName: "a." + name},
		"no name":        {InsecureSkipVerify: true},
		"no ECDSA":       {ServerName: name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}},
		"no challenge":   {ServerName: name, NextProtos: []string{"acme-tls/1"}},
		"false protocol": {ServerName: name, NextProtos: []string{"gopher"}},
	} {
		if _, err := visit(config); err == nil {
			t.Errorf("%s: got a certificate", who)
		}
	}
	files, _ := filepath.Glob(filepath.Join(data, "acme", "*"))
	for _, path := range append(files, filepath.Join(data, "acme")) {
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %s, %v", path, info.Mode(), err)
		}
	}
	if len(files) != 2 { // of the account, and of the certificate
		t.Errorf("there are %q", files)
	}

	stop()
	_, visit, _ = serve()
	again, err := visit(&tls.Config{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	if one, two := first.PeerCertificates[0], again.PeerCertificates[0]; !one.Equal(two) {
		t.Errorf("got certificate %s after the restart, and %s before", two.SerialNumber, one.SerialNumber)
	}
	if n := server.stop(); n != 1 {
		t.Errorf("the ACME server was sent %d orders, want 1", n)
	}
}

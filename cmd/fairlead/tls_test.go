package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

var loopbacks = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}

// serveTLS runs a gateway with a certificate of a new authority.
func serveTLS(t *testing.T, args ...string) (url string, a *authority) {
	t.Helper()
	a = newAuthority(t)
	cert, key := a.files()
	url, _ = serveHere(t, append([]string{"--data", t.TempDir(), "--tls-cert", cert, "--tls-key", key}, args...)...)
	return url, a
}

func TestStreamsAndPollsComeOverHTTP2AndWebSocketsOverHTTP1(t *testing.T) {
	url, a := serveTLS(t)
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Errorf("the banner says %s", url)
	}
	client := a.client()
	for _, accept := range []string{"text/event-stream", "application/x-ndjson", "application/json"} {
		request, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/attach?channel=a&wait=0", nil)
		request.Header.Set("Accept", accept)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		n, err := response.Body.Read(make([]byte, 1))
		_ = response.Body.Close()
		if n != 1 || response.ProtoMajor != 2 || response.StatusCode != 200 {
			t.Errorf("%s: got %s %s, %d bytes, %v", accept, response.Proto, response.Status, n, err)
		}
		if got := response.Header.Get("Strict-Transport-Security"); got != "" {
			t.Errorf("%s: HSTS is %q, and nobody asked for it", accept, got)
		}
	}
	dialer := ws.Dialer{Protocols: []string{"fairlead.v1"}, TLSConfig: &tls.Config{RootCAs: a.pool, NextProtos: []string{"http/1.1"}}}
	conn, _, _, err := dialer.Dial(t.Context(), strings.Replace(url, "https", "wss", 1)+"/v1/attach?channel=a")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if header, err := ws.ReadHeader(conn); err != nil || header.OpCode != ws.OpText {
		t.Errorf("got %+v, %v", header, err)
	}
}

func TestBrowsersAreToldToComeByHTTPSAloneIfThatIsTheSetting(t *testing.T) {
	url, a := serveTLS(t, "--tls-hsts=24h")
	response, err := a.client().Get(url + "/v1/ping")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=86400" {
		t.Errorf("got %q", got)
	}
}

func TestWhoDoesNotSpeakTLSIsTold(t *testing.T) {
	url, a := serveTLS(t)
	address := strings.TrimPrefix(url, "https://")
	if said := wantEnd(t, dialHere(t, address, pollText+"\r\n")); !strings.HasPrefix(said, "HTTP/1.0 400 ") || !strings.Contains(said, "HTTPS") {
		t.Errorf("over plain HTTP: got %q", said)
	}
	old := &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", address, old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	old.MaxVersion = tls.VersionTLS12
	conn, err := tls.Dial("tcp", address, old)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestThePROXYHeaderComesBeforeTLS: the proxy adds it to what it passes on as it is.
func TestThePROXYHeaderComesBeforeTLS(t *testing.T) {
	url, a := serveTLS(t, "--trusted-proxy=127.0.0.1", "--proxy-protocol", "--limits-header-wait=500ms")
	address := strings.TrimPrefix(url, "https://")
	hint := func(before, within string) (string, error) {
		t.Helper()
		conn := tls.Client(dialHere(t, address, before), &tls.Config{RootCAs: a.pool, ServerName: "localhost"})
		if _, err := io.WriteString(conn, within+pollText+"\r\n"); err != nil {
			return "", err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		var answer struct{ Frames []struct{ Net string } }
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Frames) == 0 {
			return response.Status, nil
		}
		return answer.Frames[0].Net, nil
	}
	home, err := hint(proxyHeader(t, 2, "192.0.2.7:1000"), "")
	if err != nil || home == "" {
		t.Fatalf("got %q, %v", home, err)
	}
	if got, err := hint(proxyHeader(t, 1, "192.0.2.8:1"), ""); err != nil || got != home {
		t.Errorf("version 1 from the same network: got the hint %q, %v; want %q", got, err, home)
	}
	if got, err := hint(proxyHeader(t, 2, "198.51.100.7:1"), ""); err != nil || got == home {
		t.Errorf("from another network: got the hint %q, %v", got, err)
	}
	if got, err := hint("", ""); err == nil {
		t.Errorf("without a header: got %q", got)
	}
	if got, err := hint("", proxyHeader(t, 2, "192.0.2.7:1000")); err == nil {
		t.Errorf("with the header inside: got %q", got)
	}
}

// pipes is a listener of connections within this process.
type pipes struct {
	ends chan net.Conn
	done chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.ends:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestHandshakesThatDoNotEndAreCutOff has a few hundred of them hang at every
// stage. The bubble panics if any of their goroutines stays.
func TestHandshakesThatDoNotEndAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		cert, key := a.files()
		pair, err := openKeyPair(cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		in := &pipes{make(chan net.Conn), make(chan struct{})}
		e := &entrance{Listener: in, certificates: pair}
		const wait = 10 * time.Second
		server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: wait, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
		served := make(chan error)
		go func() { served <- e.serve(t.Context(), server) }()
		dial := func() net.Conn {
			here, there := net.Pipe()
			in.ends <- there
			return here
		}
		hello := clientHello(t)
		var stuck []net.Conn
		for i := range 300 {
			conn := dial()
			if _, err := conn.Write(hello[:i*len(hello)/300]); err != nil {
				t.Fatal(err)
			}
			stuck = append(stuck, conn)
		}
		began := time.Now()
		healthy := tls.Client(dial(), &tls.Config{RootCAs: a.pool, ServerName: "localhost"})
		if err := healthy.Handshake(); err != nil || time.Since(began) > 0 {
			t.Errorf("a healthy handshake took %s among them: %v", time.Since(began), err)
		}
		_ = healthy.NetConn().Close()
		for i, conn := range stuck {
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != wait {
				t.Fatalf("handshake %d was cut off after %s, want %s", i, took, wait)
			}
		}
		_ = server.Close()
		<-served
	})
}

// clientHello is the first thing that a client says.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	go func() { // ends when there is closed
		_ = tls.Client(here, &tls.Config{ServerName: "localhost"}).Handshake()
	}()
	defer there.Close()
	b := make([]byte, 16<<10)
	n, err := there.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// TestANewCertificateIsUsedWithinAMinute replaces the files under a server.
func TestANewCertificateIsUsedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		cert, key := a.files()
		var log bytes.Buffer
		logged := func(want string, times int) {
			t.Helper()
			if got := strings.Count(log.String(), want); got != times {
				t.Errorf("%q is logged %d times, want %d, in\n%s", want, got, times, &log)
			}
		}
		pair, err := openKeyPair(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serial := func() int64 {
			t.Helper()
			got, err := pair.certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return got.Leaf.SerialNumber.Int64()
		}
		want := func(when string, n int64) {
			t.Helper()
			if got := serial(); got != n {
				t.Errorf("%s: got certificate %d, want %d", when, got, n)
			}
		}
		want("at first", 2)
		a.issue(cert, key, 3, time.Now().Add(time.Hour))
		time.Sleep(time.Minute - 1)
		want("within the minute", 2)
		time.Sleep(time.Nanosecond)
		want("after a minute", 3)
		logged("read again", 1)

		a.issue(cert, key, 4, time.Now().Add(time.Hour))
		if err := pair.reload(); err != nil {
			t.Fatal(err)
		}
		want("after a reload", 4)

		for _, broken := range []func(){
			func() { _ = os.WriteFile(cert, []byte("nonsense"), 0o600) },
			func() { a.issue(cert, t.TempDir()+"/other.pem", 5, time.Now().Add(time.Hour)) },
			func() { _ = os.Remove(key) },
		} {
			log.Reset()
			broken()
			for range 5 {
				time.Sleep(time.Minute)
				want("while the files are broken", 4)
			}
			logged("level=ERROR", 1)
			if err := pair.reload(); err == nil || !strings.Contains(err.Error(), cert) || !strings.Contains(err.Error(), "PEM") {
				t.Errorf("reload: got %v", err)
			}
			want("after a reload", 4)
		}

		log.Reset()
		a.issue(cert, key, 6, time.Now().Add(time.Hour))
		for range 120 {
			time.Sleep(time.Minute)
			want("mended", 6)
		}
		logged("has expired", 1)
		a.issue(cert, key, 7, time.Now().Add(-time.Hour))
		for range 5 {
			time.Sleep(time.Minute)
			want("expired from the beginning", 7)
		}
		logged("has expired", 2)
	})
}

// TestAReloadDropsNoConnection has a client ask again and again on one connection.
func TestAReloadDropsNoConnection(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.files()
	c := &config{Listen: "127.0.0.1:0", TLS: tlsConfig{Cert: cert, Key: key}}
	ctx, cancel := context.WithCancel(t.Context())
	e, err := c.openListener(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })}
	served := make(chan error)
	go func() { served <- e.serve(ctx, server) }()
	defer func() {
		cancel()
		_ = server.Close()
		<-served
	}()
	ask := func(client *http.Client) (from string, serial int64) {
		t.Helper()
		response, err := client.Get("https://" + e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return string(text), response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	old := a.client()
	before, first := ask(old)
	a.issue(cert, key, first+1, time.Now().Add(time.Hour))
	if err := e.reload(); err != nil {
		t.Fatal(err)
	}
	if _, serial := ask(a.client()); serial != first+1 {
		t.Errorf("a new client gets certificate %d, want %d", serial, first+1)
	}
	if after, _ := ask(old); after != before {
		t.Errorf("the connection of %s was dropped, and now there is %s", before, after)
	}
}

func TestTheEntranceReloadsNothingWithoutTLS(t *testing.T) {
	if err := new(entrance).reload(); err != nil {
		t.Error(err)
	}
}

func TestMistakesAboutHTTPSNameTheSetting(t *testing.T) {
	cert, key := newAuthority(t).files()
	for name, c := range map[string]struct {
		args []string
		code int // or 0 for any that is an error: what is in files may be found early or late
		want []string
	}{
		"no key":              {[]string{"--tls-cert", cert}, 2, []string{"tls.key", "tls.cert"}},
		"no certificate":      {[]string{"--tls-key", key}, 2, []string{"tls.cert", "tls.key"}},
		"two sources":         {[]string{"--tls-cert", cert, "--tls-key", key, "--acme-domains=a.example.com", "--acme-accept-terms"}, 2, []string{"acme.domains", "tls.cert"}},
		"terms not accepted":  {[]string{"--acme-domains=a.example.com"}, 2, []string{"acme.accept_terms", "read the terms", "https://letsencrypt.org/repository/", "acme-v02"}},
		"a wildcard":          {[]string{"--acme-domains=*.example.com"}, 2, []string{"acme.domains", "no wildcards"}},
		"an address":          {[]string{"--acme-domains=192.0.2.1"}, 2, []string{"acme.domains", "no addresses"}},
		"upper case":          {[]string{"--acme-domains=RT.example.com"}, 2, []string{"acme.domains", "lower case"}},
		"one word":            {[]string{"--acme-domains=localhost"}, 2, []string{"acme.domains", "rt.example.com"}},
		"directory over HTTP": {[]string{"--acme-directory=http://example.com"}, 2, []string{"acme.directory", "https://"}},
		"no e-mail address":   {[]string{"--acme-email=Me <a@example.com>"}, 2, []string{"acme.email", "ops@example.com"}},
		"no file":             {[]string{"--tls-cert", cert + "x", "--tls-key", key}, 0, []string{cert + "x", "no such file", "PEM"}},
		"swapped":             {[]string{"--tls-cert", key, "--tls-key", cert}, 0, []string{"tls.cert", "PEM"}},
	} {
		got := runProgram(t, nil, append([]string{"--listen=127.0.0.1:0", "--data", t.TempDir()}, c.args...)...)
		if got.code == 0 || c.code != 0 && got.code != c.code || got.out != "" {
			t.Errorf("%s: exit %d, %q", name, got.code, got.out)
		}
		for _, want := range c.want {
			if !strings.Contains(got.err, want) {
				t.Errorf("%s: got %q, which lacks %q", name, got.err, want)
			}
		}
	}
}

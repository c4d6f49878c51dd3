package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// serveTLS runs a gateway with a certificate of a new authority.
func serveTLS(t *testing.T, args ...string) (url string, a *certtest.Authority) {
	t.Helper()
	a = certtest.New(t)
	cert, key := a.Files()
	url, _ = serveHere(t, append([]string{"--data", t.TempDir(), "--tls-cert", cert, "--tls-key", key}, args...)...)
	return url, a
}

func TestStreamsAndPollsComeOverHTTP2AndWebSocketsOverHTTP1(t *testing.T) {
	url, a := serveTLS(t)
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Errorf("the banner says %s", url)
	}
	client := a.Client()
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
	dialer := ws.Dialer{Protocols: []string{"fairlead.v1"}, TLSConfig: &tls.Config{RootCAs: a.Pool, NextProtos: []string{"http/1.1"}}}
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
	response, err := a.Client().Get(url + "/v1/ping")
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
	old := &tls.Config{RootCAs: a.Pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
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
		conn := tls.Client(dialHere(t, address, before), &tls.Config{RootCAs: a.Pool, ServerName: "localhost"})
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

func TestMistakesAboutHTTPSNameTheSetting(t *testing.T) {
	cert, key := certtest.New(t).Files()
	for name, c := range map[string]struct {
		args []string
		code int // or 0 for any that is an error: what is in files may be found early or late
		want []string
	}{
		"no key":              {[]string{"--tls-cert", cert}, 2, []string{"tls.key", "tls.cert"}},
		"no certificate":      {[]string{"--tls-key", key}, 2, []string{"tls.cert", "tls.key"}},
		"two sources":         {[]string{"--tls-cert", cert, "--tls-key", key, "--acme-domains=a.example.com", "--acme-accept-terms"}, 2, []string{"acme.domains", "tls.cert"}},
		"terms not accepted":  {[]string{"--acme-domains=a.example.com"}, 2, []string{"acme.accept_terms", "acme.domains", "read the terms", "https://letsencrypt.org/repository/", "acme-v02"}},
		"a wildcard":          {[]string{"--acme-domains=*.example.com"}, 2, []string{"acme.domains", "no wildcards"}},
		"an address":          {[]string{"--acme-domains=192.0.2.1"}, 2, []string{"acme.domains", "no addresses"}},
		"upper case":          {[]string{"--acme-domains=RT.example.com"}, 2, []string{"acme.domains", "lower case"}},
		"a number":            {[]string{"--acme-domains=0.0"}, 2, []string{"acme.domains", "rt.example.com"}},
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

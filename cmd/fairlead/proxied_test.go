package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// proxyHeader is the header of a connection from that address.
func proxyHeader(t *testing.T, version byte, from string) string {
	t.Helper()
	source := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	to := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), 443))
	if source.IP.To4() == nil {
		to = net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8:f::1]:443"))
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, source, to).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const pollText = "GET /v1/attach?channel=a&wait=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

// hintAfter is the network hint of a client whose request comes after prefix, "" if it gets none.
func hintAfter(t *testing.T, url, prefix, headers string) string {
	t.Helper()
	reader := bufio.NewReader(dialHere(t, url, prefix+pollText+headers+"\r\n"))
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Frames []struct{ Net string } }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Frames) == 0 {
		t.Fatalf("got %s, %+v, %v", response.Status, answer, err)
	}
	_, _ = io.Copy(io.Discard, reader) // it takes its place until the connection ends
	return answer.Frames[0].Net
}

func TestThePROXYProtocolTellsTheClientsAddress(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--trusted-proxy=127.0.0.0/8", "--proxy-protocol", "--limits-attachments-per-ip=1", "--limits-header-wait=500ms")
	home := hintAfter(t, url, proxyHeader(t, 2, "192.0.2.7:1000"), "")
	for name, c := range map[string]struct {
		prefix, headers string
		network         string // "home", "another" or, if there is no telling, ""
	}{
		"the same network":          {proxyHeader(t, 2, "192.0.2.99:7"), "", "home"},
		"version 1":                 {proxyHeader(t, 1, "192.0.2.99:7"), "", "home"},
		"another network":           {proxyHeader(t, 2, "198.51.100.7:1000"), "", "another"},
		"IPv6":                      {proxyHeader(t, 2, "[2001:db8::1]:1000"), "", "another"},
		"a client that lies":        {proxyHeader(t, 2, "192.0.2.99:7"), "X-Forwarded-For: 198.51.100.7\r\n", ""},
		"a proxy behind the proxy":  {proxyHeader(t, 2, "127.0.0.1:7"), "X-Forwarded-For: 192.0.2.8\r\n", "home"},
		"the proxy's own, for once": {proxyHeader(t, 2, "127.0.0.1:7"), "", "another"},
	} {
		got := "another"
		switch hintAfter(t, url, c.prefix, c.headers) {
		case "":
			got = ""
		case home:
			got = "home"
		}
		if got != c.network {
			t.Errorf("%s: got the hint of the network %q, want %q", name, got, c.network)
		}
	}
	attach := func(from string) *http.Response {
		t.Helper()
		text := proxyHeader(t, 2, from) + "GET /v1/attach?channel=a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
		response, err := http.ReadResponse(bufio.NewReader(dialHere(t, url, text)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	for i, want := range map[string][]int{"192.0.2.7:1": {200, 429}, "192.0.2.8:1": {200, 429}, "127.0.0.1:1": {200, 200, 200}} {
		for _, status := range want {
			if got := attach(i); got.StatusCode != status || (status == 429) != (got.Header.Get("Retry-After") != "") {
				t.Errorf("%s: got %s, want %d", i, got.Status, status)
			}
		}
	}
	for name, text := range map[string]string{
		"no header":       pollText + "\r\n",
		"half a header":   proxyHeader(t, 2, "192.0.2.7:1000")[:20],
		"nothing":         "",
		"a broken header": strings.Replace(proxyHeader(t, 2, "192.0.2.7:1000"), "\x21", "\x2f", 1) + pollText + "\r\n",
	} {
		if said := wantEnd(t, dialHere(t, url, text)); strings.Contains(said, " 200 ") {
			t.Errorf("%s: got %q", name, said)
		}
	}
	if got := hintAfter(t, url, proxyHeader(t, 2, "192.0.2.9:1000"), ""); got != home {
		t.Errorf("afterwards the hint is %s, and was %s", got, home)
	}
}

func TestOnlyTrustedProxiesMaySpeakThePROXYProtocol(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--trusted-proxy=192.0.2.1", "--proxy-protocol")
	wantPing(t, url)
	if said := wantEnd(t, dialHere(t, url, proxyHeader(t, 2, "192.0.2.7:1000")+pollText+"\r\n")); !bytes.Contains([]byte(said), []byte(" 400 ")) {
		t.Errorf("got %q", said)
	}
	if lie := hintAfter(t, url, "", "X-Forwarded-For: 192.0.2.7\r\n"); lie != "" {
		t.Error("the header of somebody who is not trusted is believed")
	}
}

func TestForwardedIsReadIfThatIsTheSetting(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--trusted-proxy=127.0.0.1", "--forwarded-header=forwarded")
	own := hintAfter(t, url, "", "")
	if got := hintAfter(t, url, "", "X-Forwarded-For: 192.0.2.7\r\n"); got != own {
		t.Error("X-Forwarded-For is believed as well")
	}
	if got := hintAfter(t, url, "", "Forwarded: for=192.0.2.7\r\n"); got == own {
		t.Error("Forwarded is not believed")
	}
}

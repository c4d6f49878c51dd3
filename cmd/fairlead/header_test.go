package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dialHere connects to a gateway of serveHere, and says text.
func dialHere(t *testing.T, url, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // whatever goes wrong
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantEnd checks that the server ends the connection, and returns what it said before.
func wantEnd(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatalf("the connection does not end, after %q", said)
	}
	return string(said)
}

func wantPing(t *testing.T, url string) {
	t.Helper()
	response, err := http.Get(url + "/v1/ping")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("a healthy client got %s", response.Status)
	}
}

func TestAHeaderThatDoesNotEndIsCutOff(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--limits-header-wait=100ms")
	var conns []net.Conn
	for _, text := range []string{"", "G", "GET /v1/attach", "GET /v1/attach?channel=a HTTP/1.1\r\nHost: localhost\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "} {
		for range 40 {
			conns = append(conns, dialHere(t, url, text))
		}
	}
	wantPing(t, url)
	for _, conn := range conns {
		if said := wantEnd(t, conn); strings.Contains(said, " 200 ") {
			t.Errorf("got %q", said)
		}
	}
	wantPing(t, url)
}

func TestAConnectionThatAsksNothingMoreIsEnded(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--limits-idle=100ms")
	if said := wantEnd(t, dialHere(t, url, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")); !strings.Contains(said, " 200 OK") {
		t.Errorf("got %q", said)
	}
}

func TestAGiantHeaderIsRefused(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--limits-header=4KiB")
	filler := strings.Repeat("x", 64<<10)
	many := strings.Repeat("X: "+strings.Repeat("y", 60)+"\r\n", 1000)
	for name, text := range map[string]string{
		"one line":   "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + filler,
		"many lines": "GET / HTTP/1.1\r\nHost: localhost\r\n" + many,
		"a path":     "GET /" + filler + " HTTP/1.1\r\n",
		"a cookie":   "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + filler,
	} {
		response, err := http.ReadResponse(bufio.NewReader(dialHere(t, url, text)), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: got %s", name, response.Status)
		}
		_ = response.Body.Close()
		wantPing(t, url)
	}
	said := wantEnd(t, dialHere(t, url, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: "+filler[:5<<10]+"\r\n\r\n"))
	if !strings.Contains(said, " 431 ") || !strings.Contains(said, "header_too_large") {
		t.Errorf("a little too large: got %q", said)
	}
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// A kept is a connection with one request after the other.
type kept struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
}

func keep(t *testing.T, url string) *kept {
	t.Helper()
	conn := dialHere(t, url, "")
	return &kept{t, conn, bufio.NewReader(conn)}
}

// ask sends a request and returns the status and the beginning of its answer, which it does not end if it is a stream.
func (k *kept) ask(head, body string) (status int, text string) {
	k.t.Helper()
	if _, err := fmt.Fprintf(k.conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream, text/plain\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body); err != nil {
		k.t.Fatal(err)
	}
	response, err := http.ReadResponse(k.reader, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		k.reader = bufio.NewReader(response.Body)
		return response.StatusCode, ""
	}
	all, err := io.ReadAll(response.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

func (k *kept) publish(text string) {
	k.t.Helper()
	if status, answer := k.ask("POST /v1/channels/a/messages", `{"data":"`+text+`"}`); status != 201 && status != 200 {
		k.t.Fatalf("publishing %s: got %d, %s", text, status, answer)
	}
}

// hears reads the stream until the text comes.
func (k *kept) hears(text string) {
	k.t.Helper()
	for {
		line, err := k.reader.ReadString('\n')
		if err != nil {
			k.t.Fatalf("%s does not come: %v", text, err)
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// metric is the value of the series without labels in /metrics.
func (k *kept) metric(name string) (value float64) {
	k.t.Helper()
	_, text := k.ask("GET /metrics", "")
	_, rest, found := strings.Cut(text, "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &value); !found || err != nil {
		k.t.Fatalf("no %s in /metrics: %v", name, err)
	}
	return value
}

// wantRefused checks that a further connection is ended without a word, which may be before it is made.
func wantRefused(t *testing.T, url string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // whatever goes wrong
	if said := wantEnd(t, conn); said != "" {
		t.Errorf("a connection too many is told %q", said)
	}
}

func TestConnectionsBeyondTheLimitAreClosedAtOnce(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--limits-connections=3")
	reader, origin, third := keep(t, url), keep(t, url), keep(t, url)
	reader.ask("GET /v1/attach?channel=a", "")
	if got := third.metric("fairlead_connections"); got != 3 {
		t.Errorf("got %v connections, want 3", got)
	}
	for range 20 {
		wantRefused(t, url)
	}
	origin.publish("still here")
	reader.hears("still here")
	for name, want := range map[string]float64{"fairlead_connections": 3, "fairlead_connections_limit": 3, "fairlead_connections_refused_total": 20} {
		if got := origin.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for range 5 { // one goes, another one comes
		fmt.Fprint(third.conn, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		wantEnd(t, third.conn)
		third = keep(t, url)
		if status, _ := third.ask("GET /v1/ping", ""); status != 200 {
			t.Errorf("got %d", status)
		}
	}
}

// startWithFiles starts a gateway that may open so many files, and hands each line that it logs to logged.
func startWithFiles(t *testing.T, files int, logged func(string), args ...string) (url string) {
	t.Helper()
	shell := []string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files), buildProgram(t), "--listen=127.0.0.1:0", "--drain=10ms", "--data", t.TempDir()}
	url, _ = startLogged(t, exec.Command("sh", append(shell, args...)...), logged)
	return url
}

// startLogged starts a gateway, and hands each line that it logs to logged. stop ends it, as the test's end does.
func startLogged(t *testing.T, cmd *exec.Cmd, logged func(string)) (url string, stop func()) {
	t.Helper()
	out, outErr := cmd.StdoutPipe()
	log, logErr := cmd.StderrPipe()
	if err := errors.Join(outErr, logErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { // ends with the process
		defer close(read)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			logged(lines.Text())
		}
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	return addressIn(t, out), stop
}

// TestAProcessThatIsOutOfFilesGoesOn lets the limit of connections be far above that of files.
func TestAProcessThatIsOutOfFilesGoesOn(t *testing.T) {
	out := make(chan struct{}, 1)
	url := startWithFiles(t, 100, func(line string) {
		if strings.Contains(line, "no more files to open") {
			out <- struct{}{}
		}
	}, "--limits-connections=100000")
	reader, origin := keep(t, url), keep(t, url)
	reader.ask("GET /v1/attach?channel=a", "")
	origin.publish("before")
	reader.hears("before")

	var others []net.Conn
	for range 200 { // the system takes them, and the gateway cannot
		others = append(others, dialHere(t, url, ""))
	}
	<-out
	for i := range 50 {
		origin.publish(fmt.Sprintf("amid %d", i))
		reader.hears(fmt.Sprintf("amid %d", i))
	}
	for _, conn := range others {
		_ = conn.Close()
	}
	wantPing(t, url)
	origin.publish("after")
	reader.hears("after")
}

// TestTheDefaultLeavesFilesForTheLog floods a gateway that was told of no limit.
func TestTheDefaultLeavesFilesForTheLog(t *testing.T) {
	url := startWithFiles(t, 256, func(line string) {
		if strings.Contains(line, "no more files") {
			t.Error(line)
		}
	})
	reader, origin := keep(t, url), keep(t, url)
	reader.ask("GET /v1/attach?channel=a", "")
	if got := origin.metric("fairlead_connections_limit"); got != 128 {
		t.Errorf("the limit is %v, want 128", got)
	}
	for range 126 { // none of which is refused: they are taken in their order
		dialHere(t, url, "")
	}
	for range 200 {
		wantRefused(t, url)
	}
	origin.publish("amid")
	reader.hears("amid")
	for name, want := range map[string]float64{"fairlead_connections": 128, "fairlead_connections_refused_total": 200} {
		if got := origin.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

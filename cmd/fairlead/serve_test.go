package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

// serveHere runs a gateway in this process. stop ends it as a signal would,
// and returns what it left behind; the test's end does so, too.
func serveHere(t *testing.T, args ...string) (url string, stop func() outcome) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	var errs bytes.Buffer
	done := make(chan outcome, 1)
	go func() {
		err := run(ctx, append([]string{"--listen=127.0.0.1:0", "--drain=10ms"}, args...), nil, stdio{nil, writer, &errs})
		writer.Close()
		done <- outcome{err: errs.String(), code: exitCode(err)}
	}()
	stop = sync.OnceValue(func() outcome {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return addressIn(t, reader), stop
}

// addressIn is the address that a gateway prints first. The rest is read and dropped.
func addressIn(t *testing.T, out io.Reader) string {
	t.Helper()
	lines := bufio.NewScanner(out)
	lines.Scan()
	url, ok := strings.CutPrefix(lines.Text(), "fairlead listening on ")
	if !ok {
		t.Fatalf("the first line is %q", lines.Text())
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return url
}

func TestWhatIsPublishedIsPrintedByEveryTransport(t *testing.T) {
	url, stop := serveHere(t, "--data", t.TempDir())
	env := []string{"FAIRLEAD_URL=" + url}
	publish := func(stdin string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if err := run(t.Context(), append([]string{"pub", "chat.42"}, args...), env, stdio{strings.NewReader(stdin), &out, &errs}); err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSpace(out.String())
		if _, err := protocol.ParseID(id); err != nil {
			t.Fatalf("printed %q: %v", out.String(), err)
		}
		return id
	}
	first := publish("", `{"n": 1}`, "--type=note")
	publish("two\nlines\n", "-")
	publish("\xff\x00 bytes")
	last := publish("3\nfour\n\n{\"five\":5}\n", "--lines", "--key=k", "--type=line")
	if again := publish("3\nfour\n{\"five\":5}\n", "--lines", "--key=k"); again != last {
		t.Errorf("the same keys were stored twice: %s and %s", last, again)
	}
	for _, transport := range []string{"auto", "websocket", "sse", "stream", "poll"} {
		got := runProgram(t, env, "sub", "chat.*", "--after=0", "--count=6", "--transport", transport)
		want := []string{`note  {"n":1}`, `"two\nlines\n"`, `"/wAgYnl0ZXM="`, `line  3`, `line  four`, `line  {"five":5}`}
		lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
		if got.code != 0 || len(lines) != len(want) {
			t.Fatalf("%s: got %+v", transport, got)
		}
		for i := range want {
			if _, rest, _ := strings.Cut(lines[i], "  "); rest != "chat.42  "+want[i] {
				t.Errorf("%s: line %d is %q, want %q", transport, i, lines[i], want[i])
			}
		}
		by := strings.Replace(transport, "auto", "websocket", 1)
		if !strings.Contains(got.err, "attached by "+by) {
			t.Errorf("%s: progress is %q", transport, got.err)
		}
	}
	got := runProgram(t, env, "sub", "chat.42", "--last=1", "--json", "--count=1")
	var frame map[string]any
	if json.Unmarshal([]byte(got.out), &frame) != nil || frame["op"] != "message" || frame["id"] != last || frame["key"] != "k/2" {
		t.Errorf("got %+v", got)
	}
	got = runProgram(t, env, "sub", "chat.42", "--after", first, "--count=1")
	if !strings.Contains(got.out, "two") {
		t.Errorf("got %+v", got)
	}
	if end := stop(); end.code != 0 {
		t.Errorf("got %+v", end)
	}
}

func TestTheGatewaysLimitsAreTheSettings(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir(), "--limits-frame=2KiB")
	got := runProgram(t, nil, "pub", "chat.42", strings.Repeat("x", 3000), "--url", url)
	if got.code != 1 || !strings.Contains(got.err, "too_large") {
		t.Errorf("got %+v", got)
	}
}

func TestAStoppedSubscriptionIsNoError(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer writer.Close()
		done <- run(ctx, []string{"sub", "chat.42", "--url", url}, nil, stdio{nil, io.Discard, writer})
	}()
	lines := bufio.NewScanner(reader)
	for lines.Scan() && !strings.Contains(lines.Text(), "attached") {
	}
	cancel()
	for lines.Scan() {
		t.Errorf("said %q", lines.Text())
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestASubscriptionGoesOnOverARestart restarts the gateway under a subscription.
func TestASubscriptionGoesOnOverARestart(t *testing.T) {
	for _, transport := range []string{"websocket", "sse", "stream", "poll"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			url, stop := serveHere(t, "--data", dir)
			address := strings.TrimPrefix(url, "http://")
			reader, writer := io.Pipe()
			progress := make(chan string, 100)
			done := make(chan error, 1)
			go func() {
				defer writer.Close()
				done <- run(t.Context(), []string{"sub", "chat.42", "--url", url, "--transport", transport, "--count=2"}, nil,
					stdio{nil, writer, writerFunc(func(line string) { progress <- line })})
			}()
			lines := bufio.NewScanner(reader)
			for !strings.Contains(<-progress, "attached") {
			}
			publish := func(text string) {
				t.Helper()
				if got := runProgram(t, nil, "pub", "chat.42", text, "--url", url); got.code != 0 {
					t.Fatalf("got %+v", got)
				}
			}
			publish("before")
			if !lines.Scan() || !strings.HasSuffix(lines.Text(), "before") {
				t.Fatalf("got %q", lines.Text())
			}
			if end := stop(); end.code != 0 {
				t.Fatalf("got %+v", end)
			}
			for !strings.Contains(<-progress, "ended") {
			}
			serveHere(t, "--data", dir, "--listen", address)
			publish("after")
			if !lines.Scan() || !strings.HasSuffix(lines.Text(), "after") {
				t.Fatalf("got %q", lines.Text())
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

type writerFunc func(string)

func (f writerFunc) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

func TestThePageAtTheRootIsTheDemo(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir())
	for path, want := range map[string]string{"/": "text/html", "/healthz": "", "/readyz": "", "/metrics": "text/plain"} {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 || !strings.HasPrefix(response.Header.Get("Content-Type"), want) {
			t.Errorf("%s: %s, %s", path, response.Status, response.Header.Get("Content-Type"))
		}
	}
}

func TestAnAddressInUseIsAClearError(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir())
	got := runProgram(t, nil, "--data", t.TempDir(), "--listen", strings.TrimPrefix(url, "http://"))
	if got.code != 1 || !strings.Contains(got.err, "address already in use") || !strings.Contains(got.err, "--listen") {
		t.Errorf("got %+v", got)
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A reloaded gateway is a process whose file of settings the test changes.
type reloaded struct {
	t    *testing.T
	url  string
	dir  string
	cmd  *exec.Cmd
	logs chan string
}

// startReloaded starts a gateway with the file, in which DIR is a directory of the test's.
func startReloaded(t *testing.T, file string, files map[string]string) *reloaded {
	t.Helper()
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	g := &reloaded{t: t, dir: t.TempDir(), logs: make(chan string, 1000)}
	for name, text := range files {
		g.write(name, text)
	}
	g.settings(file)
	g.cmd = exec.Command(program, "--config", filepath.Join(g.dir, "fairlead.yaml"), "--listen=127.0.0.1:0", "--log-format=json")
	g.cmd.Dir, g.cmd.Env = g.dir, []string{}
	g.url, _ = startLogged(t, g.cmd, func(line string) { g.logs <- line })
	return g
}

func (g *reloaded) write(name, text string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *reloaded) settings(file string) {
	g.t.Helper()
	g.write("fairlead.yaml", strings.ReplaceAll(file, "DIR", g.dir))
}

// said waits for a line of the log with all the texts in it.
func (g *reloaded) said(texts ...string) {
	g.t.Helper()
	timeout := time.After(20 * time.Second)
	var lines []string
	for {
		select {
		case line := <-g.logs:
			missing := false
			for _, text := range texts {
				missing = missing || !strings.Contains(line, text)
			}
			if !missing {
				return
			}
			lines = append(lines, line)
		case <-timeout:
			g.t.Fatalf("no line of the log has %q: %q", texts, lines)
		}
	}
}

func (g *reloaded) hangUp() {
	g.t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		g.t.Fatal(err)
	}
}

// reload hangs up, and waits until the settings are reloaded.
func (g *reloaded) reload() {
	g.t.Helper()
	g.hangUp()
	g.said("the settings are reloaded")
}

// do is what a request with the token is answered with. The method is GET
// without a body, and else POST. headers are names and values in turn.
func (g *reloaded) do(token, path, body string, headers ...string) *http.Response {
	g.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// status is the status of such a request.
func (g *reloaded) status(token, path, body string, headers ...string) int {
	g.t.Helper()
	response := g.do(token, path, body, headers...)
	_ = response.Body.Close()
	return response.StatusCode
}

// publish publishes to the channel a.
func (g *reloaded) publish(token, data string) int {
	g.t.Helper()
	return g.status(token, "/v1/channels/a/messages", fmt.Sprintf(`{"data":%q}`, data))
}

// attach attaches to the channel a, and returns a func that waits for data on
// it, over this one attachment.
func (g *reloaded) attach(token string) (hears func(data string)) {
	g.t.Helper()
	response := g.do(token, "/v1/attach?channel=a", "", "Accept", "application/x-ndjson")
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		g.t.Fatalf("attach: %s: %s", response.Status, text)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func(want string) {
		g.t.Helper()
		for lines.Scan() {
			var frame struct{ Op, Data, Code string }
			_ = json.Unmarshal(lines.Bytes(), &frame)
			if frame.Op == want || frame.Op == "message" && frame.Data == want {
				return
			}
			if frame.Op == "error" || frame.Op == "unsubscribed" || frame.Op == "goaway" {
				g.t.Fatalf("waiting for %s: got %s", want, lines.Text())
			}
		}
		g.t.Fatalf("waiting for %s: the attachment has ended: %v", want, lines.Err())
	}
	next("welcome")
	return next
}

// attachWebSocket attaches to the channel a by WebSocket, and returns a func that waits for data on it.
func (g *reloaded) attachWebSocket() (hears func(data string)) {
	g.t.Helper()
	dialer := ws.Dialer{Protocols: []string{"fairlead.v1"}}
	conn, buffered, _, err := dialer.Dial(g.t.Context(), strings.Replace(g.url, "http", "ws", 1)+"/v1/attach?channel=a")
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	var from io.Reader = conn
	if buffered != nil {
		from = io.MultiReader(buffered, conn)
	}
	next := func(want string) {
		g.t.Helper()
		for {
			text, err := wsutil.ReadServerText(struct {
				io.Reader
				io.Writer
			}{from, conn})
			if err != nil {
				g.t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.Contains(string(text), want) {
				return
			}
		}
	}
	next("welcome")
	return next
}

// mint makes a token for the channel a with the key.
func mint(t *testing.T, jwk string) string {
	t.Helper()
	got := runProgram(t, nil, "token", "--sub=ada", "--subscribe=a", "--publish=a", "--auth-keys", writeFile(t, jwk))
	if got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	return strings.TrimSpace(got.out)
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// gatewayFlags say which gateway is measured.
type gatewayFlags struct {
	Program string   `placeholder:"FILE" help:"The fairlead to measure; without it, one is built from this tree."`
	Serve   []string `placeholder:"FLAG" sep:"none" help:"A flag for serve, such as --serve=--stream-sync=always. Repeatable."`
}

// gateway is a gateway in a process of its own, on a log of its own.
type gateway struct {
	command *exec.Cmd
	stderr  bytes.Buffer
	dir     string // removed in the end
	address string // host:port
}

// start starts a gateway on an empty log. The caller must stop it.
func (f gatewayFlags) start(ctx context.Context) (_ *gateway, err error) {
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.stop())
		}
	}()
	path := f.Program
	if path == "" {
		path = filepath.Join(dir, "fairlead")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/fairlead/fairlead/cmd/fairlead").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the gateway: %w: %s", err, out)
		}
	}
	g.command = exec.CommandContext(ctx, path, append([]string{"serve", "--listen=127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--drain=100ms"}, f.Serve...)...)
	g.command.Stderr = &g.stderr
	out, err := g.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.command.Start(); err != nil {
		g.command = nil
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "fairlead listening on http://")
	if !ok {
		return nil, fmt.Errorf("the gateway did not start: %w", err)
	}
	g.address = address
	return g, nil
}

// stop ends the process in order, and removes its log.
func (g *gateway) stop() error {
	var err error
	if g.command != nil {
		_ = g.command.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		if err = g.command.Wait(); err != nil {
			err = fmt.Errorf("the gateway ended with %w: %s", err, &g.stderr)
		}
	}
	return errors.Join(err, os.RemoveAll(g.dir))
}

// memory is what a process holds, in bytes.
type memory struct {
	resident, anonymous int // of the process (Linux, proc_pid_status(5))
	heap, stack         int // in use, of its Go runtime
	goroutines          int
}

func (g *gateway) memory(ctx context.Context) (m memory, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.command.Process.Pid))
	if err != nil {
		return m, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.address+"/metrics", nil)
	if err != nil {
		return m, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return m, err
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		return m, err
	}
	m.resident = field(status, "VmRSS:") << 10
	m.anonymous = field(status, "RssAnon:") << 10
	m.heap = field(metrics, "go_memstats_heap_inuse_bytes")
	m.stack = field(metrics, "go_memstats_stack_inuse_bytes")
	m.goroutines = field(metrics, "go_goroutines")
	return m, nil
}

// field is the number after name at the beginning of a line, or 0.
func field(text []byte, name string) int {
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.ParseFloat(fields[1], 64)
			return int(n)
		}
	}
	return 0
}

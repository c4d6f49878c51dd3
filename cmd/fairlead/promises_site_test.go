package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// builtProgram is the program, built once for all tests that start processes of it.
var builtProgram func() (path string, err error)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fairlead-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builtProgram = sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "fairlead")
		if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return path, nil
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// siteURL is how clients name a site; their connections go through its dial.
const siteURL = "http://gateway.localhost"

// site is the address of a gateway: it stays the same while processes come and
// go behind it. Its methods are for the test's goroutine, except dial.
type site struct {
	t       *testing.T
	args    []string
	process *process

	mu      sync.Mutex // guards the following
	address string
	up      chan struct{} // closed while a process runs
}

// newSite starts a gateway. args are serve's; --listen is given.
func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	s := &site{t: t, args: append([]string{"serve", "--listen=127.0.0.1:0", "--drain=100ms"}, args...), up: make(chan struct{})}
	s.start()
	return s
}

// start starts a process, and returns when it serves.
func (s *site) start() {
	s.t.Helper()
	program, err := builtProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, s.args...)}
	p.cmd.Env = []string{"HOME=" + s.t.TempDir()}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		p.end(os.Kill)
		if s.t.Failed() {
			s.t.Logf("process %d said: %s", p.cmd.Process.Pid, &p.stderr)
		}
	})
	p.url = addressIn(s.t, out)
	s.process = p
	s.mu.Lock()
	defer s.mu.Unlock()
	_, s.address, _ = strings.Cut(p.url, "//")
	close(s.up)
}

// kill ends the process as kill -9 does.
func (s *site) kill() {
	s.down()
	s.process.end(os.Kill)
}

// stop ends the process as an operator does, and returns its status.
func (s *site) stop() int {
	s.down()
	return s.process.end(syscall.SIGTERM)
}

func (s *site) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = make(chan struct{})
}

// dial connects to the process, and waits while there is none: to a client, that is a slow network.
func (s *site) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	address := s.address
	s.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// dialFunc is http.Transport.DialContext.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// clientBy is an HTTP client of the test's that connects by dial.
func clientBy(t *testing.T, dial dialFunc) *http.Client {
	transport := &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

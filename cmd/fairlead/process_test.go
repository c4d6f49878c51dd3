package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// build builds the program.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// process is a gateway in a process of its own.
type process struct {
	cmd    *exec.Cmd
	url    string
	stderr bytes.Buffer // to be read after the process has ended
}

func start(t *testing.T, program, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program)}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"FAIRLEAD_LISTEN=127.0.0.1:0", "FAIRLEAD_DRAIN=10ms"}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.url = addressIn(t, out)
	return p
}

// end sends the signal and returns the status.
func (p *process) end(signal os.Signal) int {
	_ = p.cmd.Process.Signal(signal)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// TestAProcessKeepsWhatItAcknowledged runs the program as a user does: in a
// directory, without arguments.
func TestAProcessKeepsWhatItAcknowledged(t *testing.T) {
	program, dir := buildProgram(t), t.TempDir()
	first := start(t, program, dir)
	publish := func(p *process, text string) {
		t.Helper()
		if got := runProgram(t, nil, "pub", "chat.42", text, "--url", p.url); got.code != 0 {
			t.Fatalf("got %+v", got)
		}
	}
	publish(first, "one")
	if _, err := os.Stat(filepath.Join(dir, "fairlead-data")); err != nil {
		t.Error(err)
	}
	if n := listeners(t, first.cmd.Process.Pid); n != 1 {
		t.Errorf("%d ports are open: want that of HTTP only", n)
	}

	second := exec.Command(program, "--listen=127.0.0.1:0")
	second.Dir = dir
	out, err := second.CombinedOutput()
	if err == nil || second.ProcessState.ExitCode() != 1 {
		t.Errorf("a second process on the same directory ended with %v", err)
	}
	for _, want := range []string{"in use by another fairlead", fmt.Sprint(first.cmd.Process.Pid), "--data"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it said %q, which lacks %q", out, want)
		}
	}
	if n := bytes.Count(out, []byte("\n")); n != 1 {
		t.Errorf("it said %d lines: %s", n, out)
	}

	first.end(syscall.SIGKILL)
	third := start(t, program, dir)
	publish(third, "two")
	if code := third.end(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM the status is %d: %s", code, &third.stderr)
	}
	fourth := start(t, program, dir)
	got := runProgram(t, nil, "sub", "chat.42", "--after=0", "--count=2", "--url", fourth.url)
	if !strings.Contains(got.out, "one\n") || !strings.HasSuffix(got.out, "two\n") {
		t.Errorf("got %+v", got)
	}
	if code := fourth.end(os.Interrupt); code != 0 {
		t.Errorf("after SIGINT the status is %d: %s", code, &fourth.stderr)
	}
}

// listeners counts the TCP ports on which the process listens.
func listeners(t *testing.T, pid int) (n int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 1
	}
	sockets := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("no file descriptors: %v", err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			const listening = "0A" // linux: include/net/tcp_states.h
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == listening && sockets[fields[9]] {
				n++
			}
		}
	}
	return n
}

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestAGatewayEndsWithItsTerminal closes the terminal in which the program runs;
// with nohup, which the tests themselves may run with, that changes nothing.
func TestAGatewayEndsWithItsTerminal(t *testing.T) {
	if got := closeTerminal(t, "exec env --default-signal=HUP"); got != "the terminal is closed" {
		t.Errorf("it said that %s", got)
	}
	if got := closeTerminal(t, "exec nohup"); got != "the settings are reloaded" {
		t.Errorf("with nohup it said that %s", got)
	}
}

// closeTerminal runs the program in a terminal that script(1) makes, closes
// that, and returns what the program says to it. It waits for its end.
func closeTerminal(t *testing.T, by string) (said string) {
	t.Helper()
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	out, outEnd, outErr := os.Pipe()
	log, logEnd, logErr := os.Pipe()
	if err := errors.Join(outErr, logErr); err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer log.Close()
	script := scriptOf(t, "echo $$; "+by+" "+program+" --listen=127.0.0.1:0 --drain=10ms --data "+t.TempDir(), outEnd, logEnd)
	lines := bufio.NewScanner(out)
	lines.Scan()
	pid, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gateway.Kill() }()
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "fairlead listening on") {
	}
	_ = script.Process.Kill() // and with it the terminal
	for logged := bufio.NewScanner(log); said == "" && logged.Scan(); {
		for _, what := range []string{"the terminal is closed", "the settings are reloaded"} {
			if strings.Contains(logged.Text(), what) {
				said = what
			}
		}
	}
	if said != "the terminal is closed" {
		_ = gateway.Kill()
	}
	_, _ = io.Copy(io.Discard, log) // until the process has ended
	return said
}

// scriptOf runs the commands in a terminal, with their output in the files, which it closes.
func scriptOf(t *testing.T, commands string, out, log *os.File) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("script")
	if err != nil && os.Getenv("FULL_TESTS") != "" {
		t.Fatal("there is no script(1), of Debian's bsdutils, to make a terminal with")
	}
	if err != nil {
		t.Skip("there is no script(1) to make a terminal with")
	}
	script := exec.Command(path, "-qec", "{ "+commands+"; } >&3 2>&4", "/dev/null")
	script.ExtraFiles = []*os.File{out, log}
	err = script.Start()
	_ = out.Close()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = script.Process.Kill(); _ = script.Wait() })
	return script
}

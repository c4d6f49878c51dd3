package main

import (
	"os"
	"os/signal"
	"syscall"
)

// A hangup is SIGHUP, which says two things: that the settings have changed,
// and that the terminal is gone in which the program runs.
type hangup struct {
	signals  chan os.Signal
	terminal bool // there is one, and the program was not told to outlive it, as by nohup
}

// listenToHangups takes over SIGHUP until stop is called. On Windows there is none.
func listenToHangups() *hangup {
	h := &hangup{signals: make(chan os.Signal, 1), terminal: !signal.Ignored(syscall.SIGHUP) && hasTerminal()} // one that waits stands for all
	signal.Notify(h.signals, syscall.SIGHUP)
	return h
}

func (h *hangup) stop() { signal.Stop(h.signals) }

// ends tells, after a signal, whether it was the terminal's end.
func (h *hangup) ends() bool { return h.terminal && !hasTerminal() }

// hasTerminal tells whether the process has a controlling terminal. After that
// has hung up, it has none (POSIX, section 11.1.10).
func hasTerminal() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = terminal.Close()
	return true
}

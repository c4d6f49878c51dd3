package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// readyTimeout bounds the start of the embedded server. A large store after a
// kill took 5 s; this is for slow disks.
const readyTimeout = 2 * time.Minute

// embedded is the NATS server in this process. It listens nowhere: the
// broker's connections are pipes. It can be restarted in place, and the
// connections find the new one.
type embedded struct {
	options *server.Options
	log     *slog.Logger

	mu      sync.Mutex // guards the following
	server  *server.Server
	stopped bool
}

func startServer(o Options, node string) (*embedded, error) {
	e := &embedded{
		log: o.Logger,
		options: &server.Options{
			ServerName:         "fairlead-" + node,
			DontListen:         true,
			NoSigs:             true,
			JetStream:          true,
			StoreDir:           o.Dir, // the server makes jetstream/ in it
			JetStreamMaxMemory: 64 << 20,
			JetStreamMaxStore:  o.MaxBytes + 1<<30, // the disk reserve is what really bounds it
			JetStreamLimits:    server.JSLimitOpts{DefaultMaxConsumers: -1},
			SyncAlways:         o.SyncAlways,
			MaxPayload:         largestRecord,
			WriteDeadline:      10 * time.Second,
		},
	}
	return e, e.start()
}

func (e *embedded) start() error {
	s, err := server.NewServer(e.options)
	if err != nil {
		return fmt.Errorf("broker: start the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(serverLog{e.log.With("component", "nats")}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return fmt.Errorf("broker: the embedded NATS server did not start within %v: see its messages above; the log is in %s", readyTimeout, e.options.StoreDir)
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return fmt.Errorf("broker: JetStream could not start in %s: see its messages above; check that the directory is writable and the disk is not full", e.options.StoreDir)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped { // while it was being restarted
		s.Shutdown()
		s.WaitForShutdown()
		return nil
	}
	e.server = s
	return nil
}

// InProcessConn is what nats.InProcessServer asks for, at every (re)connect.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil {
		return nil, errors.New("the embedded NATS server is not running")
	}
	return s.InProcessConn()
}

// unhealthy reports why the server cannot store, or nil.
func (e *embedded) unhealthy() error {
	e.mu.Lock()
	s, stopped := e.server, e.stopped
	e.mu.Unlock()
	switch {
	case stopped:
		return nil
	case s == nil:
		return errors.New("it is not running: the last restart failed")
	}
	if h := s.Healthz(nil); h.StatusCode != 200 {
		return errors.New(h.Error)
	}
	return nil
}

// restart stops the server and starts it again on the same data: after a full
// disk, JetStream stores nothing more until then.
func (e *embedded) restart() error {
	e.mu.Lock()
	if e.stopped {
		e.mu.Unlock()
		return nil
	}
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	return e.start()
}

func (e *embedded) stop() {
	e.mu.Lock()
	s := e.server
	e.server, e.stopped = nil, true
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// lockDirectory makes dir and takes its lock: JetStream itself would let a
// second process open the same store.
func lockDirectory(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("broker: make the data directory: %w", err)
	}
	path := filepath.Join(dir, "fairlead.lock")
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("broker: lock the data directory: %w", err)
	}
	if !ok {
		pid, _ := os.ReadFile(path)
		return nil, fmt.Errorf("the data directory %s is in use by another fairlead (process %s): stop that one, or give this one another directory with --data",
			dir, strings.TrimSpace(string(pid)))
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: write the lock file: %w", err), lock.Unlock())
	}
	return lock, nil
}

// largePayloads begins what the server warns of at every start, because of
// largestRecord. What is published is bounded by SetMaxMessage.
const largePayloads = "Maximum payloads over "

// serverLog passes the embedded server's messages on. Its notices are of no
// use to somebody who does not know that there is a NATS inside.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}

func (l serverLog) Warnf(format string, v ...any) {
	if !strings.HasPrefix(format, largePayloads) {
		l.log.Warn(fmt.Sprintf(format, v...))
	}
}

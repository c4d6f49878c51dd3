package entrance

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// serving serves at the entrance. stop shuts it down, and returns what Serve
// and Shutdown have to say, in turn; the test's end does so, too.
func serving(t *testing.T, e *Entrance, handler http.HandlerFunc) (stop func(context.Context) []error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, handler) }()
	var once sync.Once
	stop = func(ctx context.Context) (errs []error) {
		once.Do(func() {
			cancel()
			_, err := e.Shutdown(ctx)
			errs = []error{<-served, err}
		})
		return errs
	}
	t.Cleanup(func() {
		for _, err := range stop(context.Background()) {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return stop
}

// open opens an entrance at a free port and serves there.
func open(t *testing.T, o Options, handler http.HandlerFunc) *Entrance {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	serving(t, e, handler)
	return e
}

// pipes is a listener of connections within this process, for bubbles. Its deadline is past or there is none.
type pipes struct {
	ends chan net.Conn
	done chan struct{}

	mu   sync.Mutex // guards the following
	past chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	p.mu.Lock()
	past := p.past
	p.mu.Unlock()
	select {
	case <-past: // first, as the system does it
		return nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case conn := <-p.ends:
		return conn, nil
	case <-past:
		return nil, os.ErrDeadlineExceeded
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) SetDeadline(at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.past:
		if at.IsZero() {
			p.past = make(chan struct{})
		}
	default:
		if !at.IsZero() {
			close(p.past)
		}
	}
	return nil
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial is a new connection, once a server has taken it.
func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.ends <- there
	return here
}

// piped is an entrance of pipes.
func piped(t *testing.T, o Options) (*Entrance, *pipes) {
	t.Helper()
	in := &pipes{ends: make(chan net.Conn), done: make(chan struct{}), past: make(chan struct{})}
	e := &Entrance{bottom: in}
	e.options.Store(o.withDefaults())
	e.connections = countConnections(nil, &e.options) // there are none in it
	var err error
	if e.certificates, err = o.withDefaults().openCertificates(nil); err != nil {
		t.Fatal(err)
	}
	e.top = e.prepare(in)
	return e, in
}

// whence answers with the address that the request comes from.
func whence(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }

func TestTheZeroOptionsServe(t *testing.T) {
	e := open(t, Options{}, whence)
	response, err := http.Get("http://" + e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if from, _ := io.ReadAll(response.Body); response.StatusCode != 200 || len(from) == 0 {
		t.Errorf("got %s, %q", response.Status, from)
	}
	if at := e.Addr().(*net.TCPAddr); !at.IP.IsLoopback() || at.Port == 0 {
		t.Errorf("it listens on %s", at)
	}
	if err := e.ReloadCertificate(); err != nil {
		t.Error(err)
	}
}

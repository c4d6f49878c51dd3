package fairlead

import (
	"context"
	"net"
	"sync"
)

// pipeListener is a network of pipes, which a bubble knows when nothing happens in.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	away  bool       // connections are refused
	holes bool       // nothing is heard of new connections
	pipes []*pipeEnd // all that were dialled
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.mu.Lock()
	away, holes := l.away, l.holes
	l.mu.Unlock()
	if away {
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	}
	if holes {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	here, there := net.Pipe()
	end := &pipeEnd{Conn: here, over: make(chan struct{})}
	select {
	case l.conns <- there:
		l.mu.Lock()
		l.pipes = append(l.pipes, end)
		l.mu.Unlock()
		return end, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// leave resets every connection, and refuses new ones until back is called.
func (l *pipeListener) leave() (back func()) {
	l.set(true, false)
	for _, p := range l.all() {
		p.Close()
	}
	return func() { l.set(false, false) }
}

// swallow makes a black hole of every connection, and of new ones until back is called.
func (l *pipeListener) swallow() (back func()) {
	l.set(false, true)
	for _, p := range l.all() {
		p.die()
	}
	return func() { l.set(false, false) }
}

func (l *pipeListener) set(away, holes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away, l.holes = away, holes
}

func (l *pipeListener) all() []*pipeEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pipes
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// pipeEnd is the client's end of a connection, which may die without a sign.
type pipeEnd struct {
	net.Conn
	mu   sync.Mutex
	dead bool
	once sync.Once
	over chan struct{}
}

func (p *pipeEnd) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *pipeEnd) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *pipeEnd) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if p.isDead() {
		<-p.over
		return 0, net.ErrClosed
	}
	return n, err
}

func (p *pipeEnd) Write(b []byte) (int, error) {
	if p.isDead() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.over) })
	return p.Conn.Close()
}

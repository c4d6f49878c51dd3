package probe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// A way is a network with a gateway at its end, in a test's bubble. The zero value is a good one.
type way struct {
	// fault is asked before each request, and may answer it.
	fault func(w http.ResponseWriter, r *http.Request) bool
	// dial fails every connection.
	dial error
	// dead swallows every attempt to connect.
	dead bool
	// proxy is an HTTP proxy that requests go through; the gateway plays it.
	proxy string
	// certificate makes the way TLS.
	certificate *tls.Certificate
	// plain makes the address https, though there is no TLS.
	plain bool
	// roots are trusted.
	roots *x509.CertPool
}

// examine runs the doctor over the way.
func examine(t *testing.T, on way, o Options) *doctor.Report {
	t.Helper()
	pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	var listener net.Listener = pipes
	scheme := "http"
	if on.plain {
		scheme = "https"
	}
	if on.certificate != nil {
		scheme = "https"
		listener = tls.NewListener(pipes, &tls.Config{Certificates: []tls.Certificate{*on.certificate}})
	}
	server := &http.Server{Handler: http.HandlerFunc(on.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	defer served.Wait()
	defer server.Close()

	o.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: on.roots}}
	o.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if on.dead {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
		}
		if on.dial != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: on.dial}
		}
		return pipes.dial(ctx)
	}
	if on.proxy != "" {
		o.Transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(on.proxy) }
	}
	report, err := Run(t.Context(), scheme+"://gateway.test", o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (on way) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // only then does net/http notice that a client has gone
	r.Body = io.NopCloser(bytes.NewReader(body))
	if on.fault != nil && on.fault(w, r) {
		return
	}
	switch transport := transportOf(r); {
	case r.URL.Path == "/v1/ping":
		answer(w, map[string]any{"id": "a-1", "time": time.Now().UnixMilli()})
	case r.URL.Path != "/v1/attach":
		http.NotFound(w, r)
	case transport == protocol.WebSocket:
		if conn := upgrade(w, r); conn != nil {
			defer conn.Close()
			_, _ = wsutil.ReadClientText(conn)
			script(func(b []byte) { _ = wsutil.WriteServerText(conn, b) }, func() { _, _ = io.Copy(io.Discard, conn) })
		}
	case transport == protocol.Poll:
		answer(w, map[string]any{"id": "a-1", "frames": []any{map[string]any{"op": "welcome", "session": rand.Text()}}})
	default:
		send := open(w, r, nil)
		script(send, func() { <-r.Context().Done() })
	}
}

// script is an attachment in order, until gone returns.
func script(send func([]byte), gone func()) {
	send(welcome)
	time.Sleep(250 * time.Millisecond)
	send(proof)
	beats := time.NewTicker(time.Minute)
	defer beats.Stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		gone()
	}()
	for {
		select {
		case <-beats.C:
			send([]byte(`{"op":"beat","id":"a-1"}`))
		case <-over:
			return
		}
	}
}

var welcome, proof = []byte(`{"op":"welcome"}`), []byte(`{"op":"proof"}`)

func transportOf(r *http.Request) protocol.Transport {
	if r.URL.Path != "/v1/attach" {
		return ""
	}
	return protocol.Negotiate(strings.EqualFold(r.Header.Get("Upgrade"), "websocket"), r.Header.Get("Accept"))
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", protocol.MediaJSON)
	_ = json.NewEncoder(w).Encode(body)
}

// open answers with the headers of a stream, changed by change, and returns what sends a frame on it.
func open(w http.ResponseWriter, r *http.Request, change func(http.Header)) func([]byte) {
	h := w.Header()
	h.Set("Content-Type", media[transportOf(r)])
	h.Set("Cache-Control", "no-store, no-transform")
	if change != nil {
		change(h)
	}
	flush := func() { _ = http.NewResponseController(w).Flush() }
	flush()
	return func(frame []byte) {
		if transportOf(r) == protocol.SSE {
			fmt.Fprintf(w, "data: %s\n\n", frame)
		} else {
			fmt.Fprintf(w, "%s\n", frame)
		}
		flush()
	}
}

func upgrade(w http.ResponseWriter, r *http.Request) net.Conn {
	upgrader := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == protocol.Subprotocol }}
	conn, _, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		return nil
	}
	return conn
}

// certificate makes one for the names, issued by a new authority of that name.
func certificate(t *testing.T, authority string, valid time.Duration, names ...string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(c, by *x509.Certificate) *x509.Certificate {
		c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-48*time.Hour), time.Now().Add(valid)
		der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	root := &x509.Certificate{
		Subject: pkix.Name{CommonName: authority + " Root", Organization: []string{authority}},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root = issue(root, root)
	leaf := issue(&x509.Certificate{DNSNames: names}, root)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, pool
}

// pipeListener is a network of pipes, which a bubble knows when nothing happens in.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, pipe := net.Pipe()
	there := newRoomy(pipe)
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		there.closed()
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	case <-ctx.Done():
		there.closed()
		return nil, ctx.Err()
	}
}

// roomy is a connection with room on the way: in a bare pipe, two ends that both write wait for each other.
type roomy struct {
	net.Conn
	writes chan []byte
	closed context.CancelFunc
	ctx    context.Context
}

func newRoomy(conn net.Conn) *roomy {
	r := &roomy{Conn: conn, writes: make(chan []byte, 64)}
	r.ctx, r.closed = context.WithCancel(context.Background())
	go r.deliver()
	return r
}

// deliver writes everything that was written before the close, and closes.
func (r *roomy) deliver() {
	defer r.Conn.Close()
	for {
		select {
		case b := <-r.writes:
			if _, err := r.Conn.Write(b); err != nil {
				return
			}
		case <-r.ctx.Done():
			if len(r.writes) == 0 {
				return
			}
		}
	}
}

func (r *roomy) Write(b []byte) (int, error) {
	select {
	case r.writes <- bytes.Clone(b):
		return len(b), nil
	case <-r.ctx.Done():
		return 0, net.ErrClosed
	}
}

func (r *roomy) Close() error {
	r.closed()
	return nil
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

package entrance

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A keyPair is a certificate and its key in two files. It follows them.
type keyPair struct {
	cert, key string // the files
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // guards the following
	seen    [sha256.Size]byte
	checked time.Time
	expired bool // it is logged that the current one has expired
}

// checkEvery is how often handshakes look at the files, at most.
const checkEvery = time.Minute

// openKeyPair reads the files, which must be good.
func openKeyPair(cert, key string, log *slog.Logger) (*keyPair, error) {
	p := &keyPair{cert: cert, key: key, log: log}
	if err := p.reload(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *keyPair) config() *tls.Config {
	return &tls.Config{GetCertificate: p.certificate}
}

// keep does nothing: handshakes look at the files.
func (p *keyPair) keep(context.Context) {}

// certificate is the current one. Now and then it looks first whether the files have changed.
func (p *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.mu.TryLock() { // nobody waits for another one's look
		defer p.mu.Unlock()
		if time.Since(p.checked) >= checkEvery {
			if changed, err := p.readLocked(); changed && err != nil {
				p.log.Error("the new certificate cannot be used, so the old one stays", "error", err)
			}
		}
	}
	return p.current.Load(), nil
}

func (p *keyPair) reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.readLocked()
	return err
}

// readLocked makes what the files hold the current certificate, if it is one,
// and tells whether they hold something else than when they were last read.
func (p *keyPair) readLocked() (changed bool, err error) {
	p.checked = time.Now()
	held := digest(p.cert, p.key) // before they are loaded: a change in between is seen next time
	changed = held != p.seen
	p.seen = held
	next, err := LoadKeyPair(p.cert, p.key)
	if err != nil {
		return changed, err
	}
	if p.current.Swap(next) != nil && changed {
		p.log.Info("the certificate was read again", "file", p.cert, "until", next.Leaf.NotAfter)
	}
	was := p.expired && !changed
	p.expired = p.checked.After(next.Leaf.NotAfter)
	if p.expired && !was {
		p.log.Warn("the certificate has expired, and clients refuse it: put a new one in its place", "file", p.cert, "since", next.Leaf.NotAfter)
	}
	return changed, nil
}

// collect looks at the files as a handshake does.
func (p *keyPair) collect(ch chan<- prometheus.Metric) {
	if cert, err := p.certificate(nil); err == nil {
		ch <- notAfter(nameOf(cert.Leaf), cert.Leaf)
	}
}

// nameOf is the first of a certificate's names.
func nameOf(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	default:
		return strings.ToValidUTF8(leaf.Subject.CommonName, "?")
	}
}

// digest is of what the files hold; one that cannot be read holds nothing.
func digest(files ...string) [sha256.Size]byte {
	var held []byte
	for _, path := range files {
		text, _ := os.ReadFile(path)
		held = append(append(held, text...), 0)
	}
	return sha256.Sum256(held)
}

// LoadKeyPair is the certificate, with its chain, of two PEM files.
func LoadKeyPair(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert %s with tls.key %s: %w: give two PEM files, a certificate with its chain and its private key", cert, key, err)
	}
	return &pair, nil
}

package entrance

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// issued are certificates from an ACME server, one for each domain. Orders are
// made by keep alone: no handshake, however many there are, causes one.
type issued struct {
	manager *autocert.Manager
	domains []*domain
	wait    func() time.Duration // for how long a handshake waits for the first attempt
	log     *slog.Logger
}

// A domain is a name with a certificate of its own.
type domain struct {
	name  string
	tried chan struct{} // closed after the first attempt
	ready atomic.Bool   // there is a certificate
}

// newIssued asks nobody yet.
func newIssued(a *ACME, wait func() time.Duration, log *slog.Logger) *issued {
	i := &issued{wait: wait, log: log}
	for _, name := range a.Domains {
		i.domains = append(i.domains, &domain{name: name, tried: make(chan struct{})})
	}
	i.manager = &autocert.Manager{
		Prompt:     func(string) bool { return a.AcceptTerms },
		Cache:      autocert.DirCache(a.Cache),
		HostPolicy: autocert.HostWhitelist(a.Domains...),
		Client:     &acme.Client{DirectoryURL: a.Directory, UserAgent: "fairlead"},
		Email:      a.Email,
	}
	return i
}

func (i *issued) config() *tls.Config {
	return &tls.Config{GetCertificate: i.certificate, NextProtos: []string{acme.ALPNProto}}
}

// reload does nothing: there are no files to read again.
func (i *issued) reload() error { return nil }

// certificate answers the ACME server's challenges (RFC 8737), and clients who come by one of the domains.
func (i *issued) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return i.manager.GetCertificate(hello)
	}
	at := slices.IndexFunc(i.domains, func(d *domain) bool { return strings.EqualFold(d.name, hello.ServerName) })
	if at < 0 {
		return nil, fmt.Errorf("there is no certificate for the name %q", hello.ServerName)
	}
	d := i.domains[at]
	select {
	case <-d.tried:
	case <-time.After(i.wait()):
	}
	if !d.ready.Load() {
		return nil, fmt.Errorf("there is no certificate for %s yet", d.name)
	}
	return i.get(d)
}

// get is the domain's certificate: the current one, or else the kept one, or else a new one.
func (i *issued) get(d *domain) (*tls.Certificate, error) {
	// To clients without ECDSA the manager would give a second certificate. There are none any more.
	return i.manager.GetCertificate(&tls.ClientHelloInfo{ServerName: d.name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
}

// keep gets each domain's certificate, and again where that fails, until ctx
// is done. The gateway must listen by then: the ACME server comes to see it.
func (i *issued) keep(ctx context.Context) {
	var wg sync.WaitGroup
	for _, d := range i.domains {
		wg.Go(func() { i.keepOne(ctx, d) })
	}
	wg.Wait()
}

// Between attempts keep waits longer and longer, from firstRetry to lastRetry:
// Let's Encrypt allows five failures for a name in an hour. A certificate that
// is there is looked at every lastRetry.
const (
	firstRetry = 2 * time.Minute
	lastRetry  = time.Hour
)

func (i *issued) keepOne(ctx context.Context, d *domain) {
	tried := sync.OnceFunc(func() { close(d.tried) })
	retry := firstRetry
	for {
		cert, err := i.get(d)
		wait := lastRetry
		if err != nil {
			wait, retry = retry, min(2*retry, lastRetry)
			i.log.Error("the ACME server gave no certificate: it must reach this gateway by this name on port 443", "name", d.name, "error", err, "again_in", wait)
		} else {
			i.approve(d, cert)
		}
		tried()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// approve lets handshakes have the certificate, and says so the first time. The
// manager renews it when a third of its time is left, or 30 days; it does not say when it fails to.
func (i *issued) approve(d *domain, cert *tls.Certificate) {
	until := cert.Leaf.NotAfter
	if !d.ready.Swap(true) {
		i.log.Info("serving with a certificate of the ACME server", "name", d.name, "until", until)
	}
	whole := until.Sub(cert.Leaf.NotBefore)
	if left := time.Until(until); left < min(whole/6, 15*24*time.Hour) {
		i.log.Warn("the certificate was not renewed in time: the ACME server must reach this gateway by this name on port 443", "name", d.name, "until", until)
	}
}

package entrance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	witness *witness
}

// A domain is a name with a certificate of its own.
type domain struct {
	name   string
	tried  chan struct{}                    // closed after the first attempt
	ready  atomic.Pointer[x509.Certificate] // the one that was there at the last look; nil: none yet
	failed atomic.Uint64                    // looks that found none, or one that is not renewed
	warned time.Time                        // when it was last logged that it is not renewed; owned by keepOne
}

// newIssued asks nobody yet.
func newIssued(a *ACME, wait func() time.Duration, log *slog.Logger) *issued {
	i := &issued{wait: wait, log: log, witness: &witness{next: http.DefaultTransport}}
	for _, name := range a.Domains {
		i.domains = append(i.domains, &domain{name: name, tried: make(chan struct{})})
	}
	i.manager = &autocert.Manager{
		Prompt:     func(string) bool { return a.AcceptTerms },
		Cache:      autocert.DirCache(a.Cache),
		HostPolicy: autocert.HostWhitelist(a.Domains...),
		Client:     &acme.Client{DirectoryURL: a.Directory, UserAgent: "fairlead", HTTPClient: &http.Client{Transport: i.witness}},
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
	if d.ready.Load() == nil {
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
			d.failed.Add(1)
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

// approve lets handshakes have the certificate, and says so when it is another one. The
// manager renews it when a third of its time is left, or 30 days, and tries
// again within the hour where that fails; it does not say so.
func (i *issued) approve(d *domain, cert *tls.Certificate) {
	until := cert.Leaf.NotAfter
	switch d.ready.Swap(cert.Leaf) {
	case nil:
		i.log.Info("serving with a certificate of the ACME server", "name", d.name, "until", until)
		return
	case cert.Leaf:
	default:
		i.log.Info("the certificate is renewed", "name", d.name, "until", until)
	}
	const (
		day   = 24 * time.Hour
		tries = 2 * time.Hour // some of them
	)
	if due := min(until.Sub(cert.Leaf.NotBefore)/3, 30*day); time.Until(until) > due-tries {
		return
	}
	d.failed.Add(1)
	if now := time.Now(); now.Sub(d.warned) >= day {
		d.warned = now
		i.log.Warn("the certificate is not renewed: the ACME server must reach this gateway by this name on port 443", "name", d.name, "until", until, "last_problem", i.witness.said())
	}
}

func (i *issued) collect(ch chan<- prometheus.Metric) {
	for _, d := range i.domains {
		if leaf := d.ready.Load(); leaf != nil {
			ch <- notAfter(d.name, leaf)
		}
		ch <- prometheus.MustNewConstMetric(descFailures, prometheus.CounterValue, float64(d.failed.Load()), d.name)
	}
}

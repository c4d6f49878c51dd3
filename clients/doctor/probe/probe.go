// Package probe observes, from Go, what doctor judges: it tries each transport
// of a gateway by itself, the way a client does, but looks at every step.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// Options are what a round of probes may be told. The zero value works.
type Options struct {
	// Timeout bounds each step: 5 s. Reaching the gateway is one; the transports, all at once, are another, and a second try of a poll a third.
	Timeout time.Duration
	// Idle is for how long each transport that works is then held idle, to find out when it is cut. 0: not at all.
	Idle time.Duration
	// Token is shown wherever a client shows it. Empty: none is.
	Token string
	// Insecure goes on though the certificate is not trusted.
	Insecure bool
	// Transport is cloned for every request. Nil is Go's own, with the environment's proxy.
	Transport *http.Transport
	// Each is called with each probe as soon as it and those before it are done. Nil: nobody is told.
	Each func(doctor.Probe)
}

// patient is one gateway while it is examined. Its methods may be called from several goroutines.
type patient struct {
	base    *url.URL
	client  *http.Client
	timeout time.Duration
	idle    time.Duration
	token   string
	rtt     float64 // of a ping, once it is reached
}

// Check reports why address is not one of a gateway, or nil.
func Check(address string) error {
	_, err := parse(address)
	return err
}

func parse(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a gateway: give one such as https://rt.example.com", address)
	}
	return base, nil
}

// Run examines the gateway at address, and reports. It takes at most three
// timeouts and the idle time. It fails only for an address that is none, and when ctx is done.
func Run(ctx context.Context, address string, o Options) (*doctor.Report, error) {
	base, err := parse(address)
	if err != nil {
		return nil, err
	}
	transport := newTransport(o)
	defer transport.CloseIdleConnections()
	p := &patient{
		base: base, timeout: cmp.Or(o.Timeout, 5*time.Second), idle: o.Idle, token: o.Token,
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	each := o.Each
	if each == nil {
		each = func(doctor.Probe) {}
	}
	report := &doctor.Report{Client: "cli", URL: base.Redacted(), Time: time.Now().UTC().Truncate(time.Second)}
	reach := p.reach(ctx, transport)
	each(reach)
	p.rtt, report.RTT, report.Probes = reach.RTT, reach.RTT, append(report.Probes, reach)
	report.Probes = append(report.Probes, p.transports(ctx, reach.OK, each)...)
	report.Conclude()
	return report, context.Cause(ctx)
}

func newTransport(o Options) *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if o.Transport != nil {
		t = o.Transport.Clone()
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	t.TLSClientConfig.InsecureSkipVerify = o.Insecure
	return t
}

// transports probes all transports at once, and tells of them in their order.
func (p *patient) transports(ctx context.Context, reached bool, each func(doctor.Probe)) (probes []doctor.Probe) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var results []chan doctor.Probe
	for _, t := range protocol.Transports() {
		result := make(chan doctor.Probe, 1)
		results = append(results, result)
		if !reached {
			result <- doctor.Skipped(string(t))
			continue
		}
		wg.Go(func() { result <- p.transport(ctx, t) })
	}
	for _, result := range results {
		probe := <-result
		each(probe)
		probes = append(probes, probe)
	}
	return probes
}

// transport probes one transport, and then holds it idle if it works.
func (p *patient) transport(ctx context.Context, t protocol.Transport) doctor.Probe {
	var o doctor.Observation
	switch t {
	case protocol.WebSocket:
		o = p.webSocket(ctx)
	case protocol.Poll:
		o = p.poll(ctx)
	default:
		o = p.stream(ctx, t)
	}
	o.RTT, o.Token = p.rtt, p.token != ""
	probe := doctor.Attached(o)
	if probe.OK && p.idle > 0 {
		probe.Conclude(p.hold(ctx, t)...)
	}
	return probe
}

// show puts the token into the request. Redirects are not followed: it goes nowhere else.
func (p *patient) show(r *http.Request) {
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
}

// url is the address of a resource of the gateway.
func (p *patient) url(resource string) string {
	return p.base.JoinPath(protocol.Version, resource).String()
}

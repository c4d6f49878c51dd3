package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// pings is how often the gateway is asked; the quickest answer is the round trip.
const pings = 3

// reach tells whether the gateway is there: its name, its address, its
// certificate, and whether what answers is Fairlead.
func (p *patient) reach(ctx context.Context, transport *http.Transport) doctor.Probe {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r := &road{host: p.base.Host, limit: milliseconds(p.timeout), probe: doctor.Probe{Name: "reach"}}
	r.proxied(ctx, p.base, transport)
	pong, took, err := p.ping(httptrace.WithClientTrace(ctx, r.trace()))
	if err != nil {
		r.failed(ctx, err)
		return r.result()
	}
	r.certified(pong.TLS)
	r.found(doctor.JudgePong(pong.Pong)...)
	if who := by(pong.Header); who != "" && pong.Fairlead {
		r.found(doctor.Found("between", doctor.Values{"what": who}))
	}
	for range pings - 1 {
		if _, again, err := p.ping(ctx); err == nil {
			took = min(took, again)
		}
	}
	if pong.Fairlead {
		r.rtt(took)
	}
	return r.result()
}

// pong is a ping's answer and how it came.
type pong struct {
	doctor.Pong
	*http.Response
}

// ping asks GET /v1/ping, and says how long the answer took.
func (p *patient) ping(ctx context.Context) (*pong, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("ping"), nil)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	response, err := p.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	took := time.Since(began)
	if err != nil {
		return nil, 0, err
	}
	var answer struct {
		ID           *protocol.ID
		Time         int64
		Code, Detail string // of a problem
	}
	seen := doctor.Pong{Status: response.StatusCode, Type: response.Header.Get("Content-Type"), By: by(response.Header)}
	seen.Fairlead = seen.Status == http.StatusOK && json.Unmarshal(body, &answer) == nil && answer.ID != nil && answer.Time > 0
	if strings.HasPrefix(seen.Type, problemMedia) && json.Unmarshal(body, &answer) == nil {
		seen.Code, seen.Detail = answer.Code, answer.Detail
	}
	if target, err := response.Location(); err == nil && seen.Status/100 == 3 {
		seen.Target, seen.SameHost = target.Redacted(), target.Hostname() == p.base.Hostname()
	}
	return &pong{seen, response}, took, nil
}

// A road gathers what is found on the way to the gateway.
type road struct {
	host  string
	limit float64
	proxy *url.URL

	mu        sync.Mutex // guards the following: a transport's dials outlive requests
	probe     doctor.Probe
	connected bool   // to the gateway, or to the proxy
	status    string // of the proxy's answer to CONNECT, if that was no
}

func (r *road) found(findings ...doctor.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe.Findings = append(r.probe.Findings, findings...)
}

func (r *road) rtt(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe.RTT = milliseconds(d)
}

func (r *road) result() doctor.Probe {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := r.probe
	done.Findings = slices.Clone(done.Findings)
	done.Conclude()
	return done
}

// proxied notes the proxy that requests go through, and what it answers.
func (r *road) proxied(ctx context.Context, base *url.URL, transport *http.Transport) {
	if transport.Proxy == nil {
		return
	}
	request := (&http.Request{URL: base}).WithContext(ctx)
	proxy, err := transport.Proxy(request)
	if err != nil || proxy == nil { // a bad setting fails the request as well
		return
	}
	r.proxy = proxy
	r.found(doctor.Found("proxied", doctor.Values{"proxy": proxy.Redacted()}))
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.status = answer.Status
		}
		return nil
	}
}

// trace times the steps of the first connection.
func (r *road) trace() *httptrace.ClientTrace {
	began := time.Now()
	last := began
	step := func(of *float64, connected bool, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if now := time.Now(); err == nil {
			*of, last = milliseconds(now.Sub(last)), now
			r.connected = r.connected || connected
		}
	}
	return &httptrace.ClientTrace{
		DNSDone:          func(dns httptrace.DNSDoneInfo) { step(&r.probe.DNS, false, dns.Err) },
		ConnectDone:      func(_, _ string, err error) { step(&r.probe.Connect, true, err) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { step(&r.probe.TLS, true, err) },
		GotConn:          func(httptrace.GotConnInfo) { step(new(float64), true, nil) },
	}
}

// failed says why no answer came.
func (r *road) failed(ctx context.Context, err error) {
	r.mu.Lock()
	connected, status := r.connected, r.status
	r.mu.Unlock()
	values := doctor.Values{"host": r.host, "limit_ms": r.limit, "error": reason(err), "status": status}
	if r.proxy != nil {
		values["proxy"] = r.proxy.Redacted()
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	dial := isOp && (op.Op == "dial" || op.Op == "proxyconnect")
	switch {
	case status != "":
		r.found(doctor.Found("proxy_refused", values))
	case r.proxy != nil && dial:
		r.found(doctor.Found("proxy_unreachable", values))
	case isDNS && !dns.IsTimeout:
		values["host"], values["error"] = dns.Name, dns.Err
		r.found(doctor.Found("dns_failed", values))
	case errors.Is(err, syscall.ECONNREFUSED):
		r.found(doctor.Found("connect_refused", values))
	case isTimeout(ctx, err) && connected:
		r.found(doctor.Found("request_timeout", values))
	case isTimeout(ctx, err):
		r.found(doctor.Found("connect_timeout", values))
	case dial:
		r.found(doctor.Found("connect_failed", values))
	default:
		if found := judgeTLS(err, values); found != nil {
			r.found(found...)
			return
		}
		r.found(doctor.Found("request_reset", values))
	}
}

func isTimeout(ctx context.Context, err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ctx.Err() != nil || ok && timeout.Timeout()
}

// reason is the innermost part of an error, which is what people can use.
func reason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err
	}
	if sys, ok := errors.AsType[syscall.Errno](err); ok {
		return sys.Error()
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return strings.TrimSuffix(fmt.Sprint(err), ".")
}

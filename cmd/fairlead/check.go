package main

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// check reports all settings that contradict others. It looks at nothing but the settings.
func (c *config) check(origin func(key string) string) *report {
	r := newReport(c, origin)
	c.checkAll(r)
	return r
}

func (c *config) checkAll(r *report) {
	c.checkListen(r)
	c.checkProxies(r)
	c.checkTLS(r)
	c.checkAuth(r)
	c.checkOrigins(r)
	c.checkLog(r)
	c.checkTimes(r)
	c.checkLimits(r)
}

// open tells whether everybody may do everything.
func (c *config) open() bool {
	a := &c.Auth
	return !a.hasKeys() && a.APIKeys == "" && !a.hasAnonymous()
}

// What open looks at, and what hasKeys and hasAnonymous do.
var (
	keySettings       = []string{"auth.secret", "auth.secret_file", "auth.keys", "auth.jwks"}
	anonymousSettings = []string{"auth.anonymous.subscribe", "auth.anonymous.publish", "auth.anonymous.presence"}
	closingSettings   = slices.Concat(keySettings, anonymousSettings, []string{"auth.api_keys"})
)

// checkListen refuses to let others than this machine into an open gateway.
func (c *config) checkListen(r *report) {
	if isLocalAddress(c.Listen) {
		return
	}
	switch {
	case c.onlyLocal():
		r.beside(closingSettings...).beside("insecure").wrong("listen", "%s", mustNotBeOpen)
	case c.open():
		r.beside(closingSettings...).doubtful("insecure", "everybody who reaches %s may do everything: let nobody reach it but what authenticates them", c.Listen)
	case c.Auth.hasKeys() && !c.secure() && len(c.TrustedProxy) == 0:
		r.beside("tls.cert", "acme.domains", "trusted_proxy").doubtful("listen", "tokens can be read by whoever is on the way: serve HTTPS, or name the proxy that does in trusted_proxy")
	}
}

// mustNotBeOpen says what to configure where others than this machine can come in.
const mustNotBeOpen = "others than this machine could come in, and nothing says who may do what. " +
	"Configure that: the easiest is a secret in a file, (umask 077; openssl rand -base64 32 > secret), given by --auth-secret-file secret (in a container by FAIRLEAD_AUTH_SECRET), " +
	"with tokens from fairlead token --auth-secret-file secret; or auth.keys, auth.jwks, auth.api_keys, auth.anonymous. " +
	"Or listen on 127.0.0.1. Or set --insecure, if only what stands before the gateway and authenticates can reach it"

// secure tells whether the gateway itself serves HTTPS.
func (c *config) secure() bool { return c.TLS.Cert != "" || len(c.ACME.Domains) > 0 }

// isLocalAddress tells whether only this machine reaches a listener there.
func isLocalAddress(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isLocalHost(host)
}

func (c *config) checkProxies(r *report) {
	if c.ProxyProtocol && len(c.TrustedProxy) == 0 {
		r.beside("trusted_proxy").wrong("proxy_protocol", "it must be false, unless trusted_proxy names who sends it")
	}
	for _, network := range c.TrustedProxy {
		if network.Bits() == 0 {
			r.doubtful("trusted_proxy", "everybody can claim to be at any address, and so no limit by address counts: name the networks of the proxies")
			break
		}
	}
	if len(c.TrustedProxy) == 0 && r.given("forwarded_header") {
		r.beside("trusted_proxy").doubtful("forwarded_header", "nobody is believed there: name the proxies in trusted_proxy")
	}
	if len(c.TrustedProxy) > 0 && c.onlyLocal() {
		r.beside(closingSettings...).beside("insecure").doubtful("trusted_proxy", "the gateway is open, and so is what the proxy lets through: configure auth, or set insecure if the proxy authenticates")
	}
}

func (c *config) checkLog(r *report) {
	if c.Stream.Dedupe > c.Stream.MaxAge {
		r.beside("stream.max_age").wrong("stream.dedupe", "it must be a duration of at most stream.max_age, which is %s", formatDuration(c.Stream.MaxAge))
	}
	if c.NATS == "" && c.Stream.Replicas > 1 {
		r.beside("nats").wrong("stream.replicas", "it must be 1, unless nats names a cluster: the log in data has one copy")
	}
	if c.NATS == "" {
		return
	}
	for _, key := range []string{"data", "disk_reserve", "stream.sync"} {
		if r.given(key) && !(key == "data" && len(c.ACME.Domains) > 0 && c.ACME.Cache == "") {
			r.doubtful(key, "it has no effect, since nats says where the log is: leave one of the two out")
		}
	}
	for part := range strings.SplitSeq(c.NATS, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err == nil && (u.Scheme == "nats" || u.Scheme == "ws") && u.User != nil && !isLocalHost(u.Hostname()) {
			r.doubtful("nats", "the password for %s can be read by whoever is on the way, unless that server insists on TLS: write tls:// or wss://", u.Host)
		}
	}
}

// What others commonly do to what takes long.
const (
	proxiesCutIdle = time.Minute      // nginx's proxy_read_timeout, AWS's load balancers
	orchestrators  = 30 * time.Second // Kubernetes' terminationGracePeriodSeconds
)

func (c *config) checkTimes(r *report) {
	if c.Beat >= proxiesCutIdle {
		r.doubtful("beat", "most proxies cut a connection after a minute of silence: stay below %s", formatDuration(proxiesCutIdle))
	}
	if most := orchestrators - closeGrace; c.Drain > most {
		r.doubtful("drain", "with up to %s to end in order it is more than the %s after which Kubernetes kills (Docker: 10s): give it that time there, or stay at %s",
			formatDuration(closeGrace), formatDuration(orchestrators), formatDuration(most))
	}
}

package main

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// tlsConfig is the settings of HTTPS with a certificate from files.
type tlsConfig struct {
	Cert string        `key:"tls.cert" default:"" type:"setting" form:"file" placeholder:"FILE" help:"Serve HTTPS with this certificate: a PEM file with its chain. It is read again within a minute after it has changed."`
	Key  string        `key:"tls.key" default:"" type:"setting" form:"file" placeholder:"FILE" help:"The certificate's private key, a PEM file."`
	HSTS time.Duration `key:"tls.hsts" default:"0s" type:"setting" min:"0s" max:"87600h" placeholder:"DURATION" help:"For how long browsers are told to reach this host by HTTPS alone, on all its ports; 0 to say nothing."`
}

// acmeConfig is the settings of HTTPS with certificates from an ACME server.
type acmeConfig struct {
	Domains     list   `key:"acme.domains" default:"" type:"setting" form:"domain" placeholder:"NAME" help:"Serve HTTPS for these names, with certificates that an ACME server gives. It must reach this gateway by each of them on port 443."`
	Email       string `key:"acme.email" default:"" type:"setting" form:"email" placeholder:"ADDRESS" help:"Where the ACME server may write about them."`
	Directory   string `key:"acme.directory" default:"https://acme-v02.api.letsencrypt.org/directory" type:"setting" form:"https" placeholder:"URL" help:"The ACME server."`
	AcceptTerms bool   `key:"acme.accept_terms" default:"false" type:"setting" help:"You have read the ACME server's terms of service, and accept them."`
	Cache       string `key:"acme.cache" default:"" type:"setting" form:"file" placeholder:"DIR" help:"Where the certificates and their keys are kept: without one in acme under --data. Gateways behind one name share it."`
}

// checkTLS reports what is contradictory about HTTPS.
func (c *config) checkTLS(r *report) {
	issued := len(c.ACME.Domains) > 0
	switch {
	case c.TLS.Cert != "" && c.TLS.Key == "":
		r.wrong("tls.key", "name the file of the private key that belongs to tls.cert")
	case c.TLS.Cert == "" && c.TLS.Key != "":
		r.wrong("tls.cert", "name the file of the certificate that belongs to tls.key")
	case c.TLS.Cert != "" && issued:
		r.wrong("acme.domains", "it must be empty, or tls.cert: certificates come from an ACME server or from files")
	case c.TLS.Cert == "" && !issued && c.TLS.HSTS > 0:
		r.beside("tls.cert", "acme.domains").doubtful("tls.hsts", "it has no effect: browsers heed it over HTTPS only, so set tls.cert or acme.domains as well")
	}
	if issued && !c.ACME.AcceptTerms {
		r.beside("acme.domains").wrong("acme.accept_terms", "certificates are wanted for acme.domains: read the terms of service of %s, for Let's Encrypt at https://letsencrypt.org/repository/, and set it to true if you accept them", c.ACME.Directory)
	}
	if issued && c.onlyLocal() {
		r.beside(closingSettings...).beside("insecure").doubtful("acme.domains", "%s", mustNotBeNamed)
	}
	if !issued && (r.given("acme.accept_terms") || r.given("acme.email") || r.given("acme.directory") || r.given("acme.cache")) {
		r.doubtful("acme.domains", "nothing is asked of an ACME server: name the domains to get certificates for")
	}
}

// onlyLocal tells whether the gateway refuses requests for another host than this machine.
func (c *config) onlyLocal() bool { return c.open() && !c.Insecure }

// mustNotBeNamed says what to configure where clients use a name that is not this machine's.
const mustNotBeNamed = "nothing says who may do what, and so whoever asks for another host than this machine gets a 403: " +
	"configure auth, or set insecure if only what stands before the gateway and authenticates can reach it"

// url is where clients on this machine, or those of the first ACME domain, reach the address.
func (c *config) url(addr net.Addr) string {
	switch {
	case len(c.ACME.Domains) > 0:
		return "https://" + atPort(c.ACME.Domains[0], addr)
	case c.TLS.Cert != "":
		return "https://" + reachable(addr)
	}
	return "http://" + reachable(addr)
}

// atPort is the host with the port of addr, unless that is the one of HTTPS anyway.
func atPort(host string, addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || ap.Port() == 443 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(ap.Port())))
}

// The forms of the settings above.

func checkFile(s string) error {
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("empty, or a path")
	}
	return nil
}

func checkDomain(s string) error {
	ascii, err := idna.Lookup.ToASCII(s)
	_, noAddress := netip.ParseAddr(s)
	top := s[strings.LastIndexByte(s, '.')+1:]
	if err != nil || ascii != s || noAddress == nil || top == s || strings.Trim(s, ".") != s || strings.Trim(top, "0123456789") == "" {
		return fmt.Errorf("host names, such as rt.example.com: in lower case, no wildcards, no addresses, and others than ASCII as xn--…")
	}
	return nil
}

func checkEmail(s string) error {
	if address, err := mail.ParseAddress(s); s != "" && (err != nil || address.Address != s) {
		return fmt.Errorf("empty, or an address such as ops@example.com")
	}
	return nil
}

func checkHTTPS(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("a URL of https://")
	}
	return nil
}

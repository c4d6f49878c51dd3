package probe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
)

// inspectors matches the products that inspect TLS, as they name themselves in
// the certificates that they make. Names that also issue public certificates are not among them.
var inspectors = regexp.MustCompile(`(?i)\b(zscaler|netskope|forti(net|gate|guard)|palo ?alto|blue ?coat|sophos|cisco umbrella|opendns|mcafee web|skyhigh|trellix|` +
	`forcepoint|websense|barracuda|check ?point|watchguard|sonicwall|iboss|contentkeeper|smoothwall|securly|lightspeed|untangle|menlo security|` +
	`kaspersky|eset ssl|avast|avg web|bitdefender|adguard|mitmproxy|charles proxy|do_not_trust|fiddler|burp|portswigger)`)

// certified notes who vouches for the connection.
func (r *road) certified(state *tls.ConnectionState) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return
	}
	code, values := "tls_issuer", doctor.Values{"issuer": issuer(state.PeerCertificates[0])}
	if len(state.VerifiedChains) == 0 {
		code = "tls_unverified"
	}
	if inspector := inspectorOf(state.PeerCertificates); inspector != "" {
		code, values["issuer"] = "tls_intercepted", inspector
	}
	r.found(doctor.Found(code, values))
}

// issuer is who issued the certificate, in words.
func issuer(c *x509.Certificate) string {
	name := c.Issuer
	organization := strings.Join(name.Organization, ", ")
	if strings.Contains(name.CommonName, organization) {
		return cmp.Or(name.CommonName, "nobody named")
	}
	return strings.TrimSuffix(organization+" ("+name.CommonName+")", " ()")
}

// judgeTLS says what is wrong with TLS: nothing, if that is not what err is about.
func judgeTLS(err error, values doctor.Values) []doctor.Finding {
	if bad, ok := errors.AsType[x509.HostnameError](err); ok {
		values["names"] = cmp.Or(strings.Join(bad.Certificate.DNSNames, ", "), bad.Certificate.Subject.CommonName, "no name at all")
		return []doctor.Finding{doctor.Found("tls_wrong_name", values)}
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		values["from"], values["to"] = bad.Cert.NotBefore.Format(time.DateOnly), bad.Cert.NotAfter.Format(time.DateOnly)
		return []doctor.Finding{doctor.Found("tls_expired", values)}
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return untrusted(bad.UnverifiedCertificates)
	}
	if strings.Contains(err.Error(), "tls:") || strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		return []doctor.Finding{doctor.Found("tls_failed", values)}
	}
	return nil
}

// untrusted says who vouches for a chain that the system does not trust.
func untrusted(chain []*x509.Certificate) (found []doctor.Finding) {
	values := doctor.Values{"issuer": issuer(chain[0])}
	if inspector := inspectorOf(chain); inspector != "" {
		values["issuer"] = inspector
		found = append(found, doctor.Found("tls_intercepted", values))
	}
	return append(found, doctor.Found("tls_untrusted", values))
}

// inspectorOf is the issuer in the chain that is known to inspect TLS, or "".
func inspectorOf(chain []*x509.Certificate) string {
	for _, c := range chain {
		if inspectors.MatchString(c.Issuer.String()) {
			return issuer(c)
		}
	}
	return ""
}

// Package certtest issues certificates in tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority issues certificates that Pool trusts.
type Authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	Cert *x509.Certificate // its own
	Pool *x509.CertPool
}

// New makes an authority. What goes wrong ends the test.
func New(t *testing.T) *Authority {
	t.Helper()
	a := &Authority{t: t, Pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fairlead test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.Cert = a.sign(template, nil, nil)
	a.Pool.AddCert(a.Cert)
	return a
}

// sign makes a key and a certificate for it; without a parent it is signed by itself.
func (a *Authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

// Issue puts a certificate into the files, for localhost, 127.0.0.1 and the names, that is good until then.
func (a *Authority) Issue(certFile, keyFile string, serial int64, until time.Time, names ...string) {
	a.t.Helper()
	key, cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: append(names, "localhost"), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
	}, a.Cert, a.key)
	WritePEM(a.t, keyFile, "PRIVATE KEY", a.marshal(key))
	WritePEM(a.t, certFile, "CERTIFICATE", cert.Raw, a.Cert.Raw)
}

// Keep puts a certificate of ninety days that is good until then, with its key,
// into a file of the directory, as autocert keeps them.
func (a *Authority) Keep(dir, name string, until time.Time) {
	a.t.Helper()
	key, cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: []string{name}, NotBefore: until.AddDate(0, 0, -90), NotAfter: until,
	}, a.Cert, a.key)
	text := append(
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a.marshal(key)}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *Authority) marshal(key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// WritePEM puts blocks of that kind into a file that is its owner's.
func WritePEM(t *testing.T, path, kind string, blocks ...[]byte) {
	t.Helper()
	var text []byte
	for _, der := range blocks {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Until is a certificate for a.example.com.
func (a *Authority) Until(from, until time.Time) *x509.Certificate {
	_, cert := a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"a.example.com"}, NotBefore: from, NotAfter: until}, a.Cert, a.key)
	return cert
}

// Files are where a certificate of the authority is, that is good for an hour.
func (a *Authority) Files() (cert, key string) {
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.Issue(cert, key, 2, time.Now().Add(time.Hour))
	return cert, key
}

// Client trusts the authority, and speaks HTTP/2.
func (a *Authority) Client() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool}, ForceAttemptHTTP2: true}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

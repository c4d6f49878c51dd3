package main

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance"
)

// examine reports what is wrong with the files and directories that the
// settings name. It changes none of them, and asks nobody else.
func (c *config) examine(r *report) {
	c.Auth.read(r)
	c.examinePrivacy(r)
	c.examineCertificate(r)
	if c.NATS == "" || len(c.ACME.Domains) > 0 && c.ACME.Cache == "" { // the certificates are there
		examineDirectory(r, "data", c.Data)
	}
	if len(c.ACME.Domains) > 0 && c.ACME.Cache != "" {
		examineDirectory(r, "acme.cache", c.ACME.Cache)
	}
}

// examinePrivacy looks at who may read the files in which secrets are.
func (c *config) examinePrivacy(r *report) {
	files := map[string][]string{"auth.secret_file": {c.Auth.SecretFile}, "tls.key": {c.TLS.Key}}
	for _, path := range c.Auth.Keys {
		if text, err := readFile(path); err == nil && strings.Contains(string(text), "PRIVATE KEY-----") {
			files["auth.keys"] = append(files["auth.keys"], path)
		}
	}
	if path, _, line := cutLast(r.origin("auth.secret"), ":"); line && c.Auth.Secret != "" {
		files["auth.secret"] = []string{path} // it stands in the file of settings
	}
	for _, key := range []string{"auth.secret", "auth.secret_file", "auth.keys", "tls.key"} {
		for _, path := range files[key] {
			if path != "" && othersMayRead(path) {
				r.doubtful(key, "everybody on this machine may read %s: chmod o-r it", path)
			}
		}
	}
}

// cutLast cuts s round its last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// othersMayRead tells whether neither the file's owner nor its group needs to be asked.
func othersMayRead(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows" // where bits say nothing
}

// expiresSoon is how long before its end a certificate from files should have been replaced.
const expiresSoon = 7 * 24 * time.Hour

func (c *config) examineCertificate(r *report) {
	if c.TLS.Cert == "" || c.TLS.Key == "" {
		return
	}
	pair, err := entrance.LoadKeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		r.wrong("tls.cert", "%v", err)
		return
	}
	switch now, until := time.Now(), pair.Leaf.NotAfter; {
	case now.After(until):
		r.doubtful("tls.cert", "it expired at %s: clients refuse it", until.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		r.doubtful("tls.cert", "it is not good before %s: clients refuse it", pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.Add(expiresSoon).After(until):
		r.doubtful("tls.cert", "it expires at %s: put a new one in its place", until.UTC().Format(time.RFC3339))
	}
	if c.onlyLocal() && !isForThisMachine(pair.Leaf) {
		r.beside(closingSettings...).beside("insecure").doubtful("tls.cert", "it is for other names than this machine's; %s", mustNotBeNamed)
	}
}

// isForThisMachine tells whether one of the certificate's names is this machine's.
func isForThisMachine(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(leaf.DNSNames, isLocalHost) || slices.ContainsFunc(leaf.IPAddresses, net.IP.IsLoopback)
}

// examineDirectory reports a directory in which no files can be made, or, if it
// is not there yet, in whose place it cannot be made.
func examineDirectory(r *report, key, dir string) {
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			r.wrong(key, "%s is no directory: choose another one", dir)
			return
		}
		if err == nil {
			break
		}
		if !os.IsNotExist(err) || filepath.Dir(dir) == dir {
			r.wrong(key, "it cannot be looked at (%v): choose another one", err)
			return
		}
		dir = filepath.Dir(dir)
	}
	file, err := os.CreateTemp(dir, ".fairlead-check-")
	if err != nil {
		r.wrong(key, "nothing can be written to %s (%v): choose another directory, or change its owner", dir, err)
		return
	}
	_ = file.Close()
	_ = os.Remove(file.Name())
}

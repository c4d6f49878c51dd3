package entrance

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificates are what a gateway proves its name with. All methods may be called concurrently.
type certificates interface {
	// config is how to serve with them. The caller may change it.
	config() *tls.Config
	// keep sees to it that there are some, until ctx is done. The gateway must be listening.
	keep(ctx context.Context)
	// reload reads files again at once. An error: nothing has changed.
	reload() error
	// collect shows when they end, and what fails about them.
	collect(ch chan<- prometheus.Metric)
}

// openCertificates is what to serve HTTPS with, or nil for plain HTTP. wait is
// how long a handshake may, just now.
func (o *Options) openCertificates(wait func() time.Duration) (certificates, error) {
	switch {
	case len(o.ACME.Domains) > 0 && o.ACME.Cache == "":
		return nil, errors.New("there must be a directory to keep certificates in: name one in acme.cache")
	case len(o.ACME.Domains) > 0:
		return newIssued(&o.ACME, wait, o.Logger), nil
	case o.Cert != "":
		return openKeyPair(o.Cert, o.Key, o.Logger)
	}
	return nil, nil
}

// secured is the listener whose connections speak TLS, HTTP/2 within it, and
// HTTP/1.1, for which browsers ask when they open a WebSocket. It is below the
// servers, so that all of them have one set of keys for sessions that are resumed.
func secured(l net.Listener, c certificates) net.Listener {
	config := c.config()
	config.MinVersion = tls.VersionTLS12
	config.NextProtos = append([]string{"h2", "http/1.1"}, config.NextProtos...)
	return tls.NewListener(l, config)
}

// withHSTS tells browsers to come by HTTPS alone from now on, for so long.
func withHSTS(next http.Handler, last time.Duration) http.Handler {
	if last <= 0 {
		return next
	}
	value := "max-age=" + strconv.Itoa(int(last.Seconds()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", value) // RFC 6797, section 7.1
		next.ServeHTTP(w, r)
	})
}

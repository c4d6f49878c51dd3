package fairlead

import (
	"errors"
	"net/http"
	"net/url"
)

// checkRedirect makes a CheckRedirect of an HTTP client's own, nil for net/http's, in
// which no token goes to another origin than the one that it is for. net/http
// itself lets Authorization go to other ports, to subdomains, and to plain HTTP.
func checkRedirect(own func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, before []*http.Request) error {
		if before[0].Header.Get("Authorization") != "" && !isFor(before[0].URL, next.URL) {
			return http.ErrUseLastResponse // a StatusError says where it would have gone
		}
		if own != nil {
			return own(next, before)
		}
		if len(before) >= 10 {
			return errors.New("more than 10 redirects")
		}
		return nil
	}
}

// isFor tells whether what is sent to one URL may be sent to the other: to the
// same origin, or by TLS to the same host.
func isFor(from, to *url.URL) bool {
	if from.Scheme == to.Scheme {
		return from.Hostname() == to.Hostname() && portOf(from) == portOf(to)
	}
	return from.Hostname() == to.Hostname() && to.Scheme == "https" && portOf(from) == "80" && portOf(to) == "443"
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

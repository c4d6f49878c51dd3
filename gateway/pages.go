package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/cors"

	"github.com/fairlead/fairlead/protocol"
)

// pages are the web pages whose scripts may use the gateway (PROTOCOL.md 2.6):
// those that it serves itself, and those of the origins that are listed. CORS is
// rs/cors's: it has the preflights and the Vary headers right, and tells of any
// request whether its origin is listed, so that WebSockets have the same list.
type pages struct {
	listed  *cors.Cors
	cookies bool // of listed origins count
	own     *http.CrossOriginProtection
}

// newPages takes origins such as https://app.example.com, https://*.example.com
// and *, or says which is none.
func newPages(origins []string) (*pages, error) {
	p := &pages{own: http.NewCrossOriginProtection(), cookies: true}
	for _, origin := range origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
		if origin == "*" || strings.HasPrefix(origin, "http://") {
			p.cookies = false // anybody, or anybody on the way, would act for whoever has one
		}
	}
	o := cors.Options{
		AllowedOrigins:   slices.Clone(origins),
		AllowedMethods:   []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders:   []string{"Accept", "Authorization", "Content-Type", "Last-Event-ID", "Fairlead-Type", "Idempotency-Key"},
		ExposedHeaders:   []string{"Retry-After", "WWW-Authenticate"},
		AllowCredentials: p.cookies,
		MaxAge:           7200, // as long as Chromium remembers it
	}
	if len(origins) == 0 { // to cors that would be all of them
		o.AllowOriginFunc = func(string) bool { return false }
	}
	p.listed = cors.New(o)
	return p, nil
}

// CheckOrigin reports what is no origin of web pages as browsers write it (RFC
// 6454, section 6.2), nor *, nor a pattern of all below a host.
func CheckOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	one := strings.Replace(origin, "://*.", "://", 1) // of those that a pattern is for
	u, err := url.Parse(one)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || strings.Contains(one, "*") ||
		one != u.Scheme+"://"+u.Host || one != strings.ToLower(u.String()) || !isWrittenPort(u) {
		return fmt.Errorf("%q is not an origin: write it as a browser does, a scheme and a host in lower case without a path and the scheme's own port, such as https://app.example.com, or https://*.example.com for all below", origin)
	}
	return nil
}

// isWrittenPort tells whether browsers write the port of u, or the lack of one, like this.
func isWrittenPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	own := map[string]uint64{"http": 80, "https": 443}
	return err == nil && n != own[u.Scheme] && u.Port() == strconv.FormatUint(n, 10)
}

// everyPage is the CORS of what is public.
var everyPage = cors.New(cors.Options{AllowedOrigins: []string{"*"}, MaxAge: 7200})

// isPublic tells whether any page may have what is at that path.
func isPublic(path string) bool {
	return path == "/"+protocol.Version+"/ping" || path == "/"+protocol.Version+"/client.js"
}

// guardPages keeps what the scripts of other pages send from next, unless their
// origins are listed, and cookies that other pages make a browser send.
func (g *Gateway) guardPages(p *pages, next http.Handler) http.Handler {
	public := everyPage.Handler(next)
	guarded := p.listed.Handler(g.handle(func(w http.ResponseWriter, r *http.Request) error {
		if err := p.check(r); err != nil {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case isPublic(path):
			public.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/"+protocol.Version+"/"):
			guarded.ServeHTTP(w, r)
		default: // pages, health, metrics: nothing there acts for anybody
			r.Header.Del("Cookie")
			next.ServeHTTP(w, r)
		}
	})
}

// check reports that the request is from a page that may not send it, or nil.
// A cookie that does not count is taken out of the request.
func (p *pages) check(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if strings.HasPrefix(origin, "http:") && !isLocalHost(r.Host) {
		r.Header.Del("Cookie") // anybody on the way to the page could have written it
	}
	// The same rule for every method: a GET opens a WebSocket, and attaches.
	if p.own.Check(&http.Request{Method: http.MethodPost, Host: r.Host, Header: r.Header, URL: r.URL}) == nil {
		return nil
	}
	listed := origin != "" && p.listed.OriginAllowed(r)
	if !listed || !p.cookies {
		r.Header.Del("Cookie")
	}
	if listed || r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" { // somebody follows a link
		return nil
	}
	if origin == "" {
		return protocol.Errorf(protocol.Forbidden, "another site may not embed this")
	}
	return protocol.Errorf(protocol.Forbidden, "pages of the origin %.100q may not use this gateway: add it to origins in the gateway's settings", origin)
}

// onlyLocal keeps requests for another host from next: a page elsewhere can have
// its own name lead to this machine, and would then be of the same origin.
func (g *Gateway) onlyLocal(next http.Handler) http.Handler {
	return g.handle(func(w http.ResponseWriter, r *http.Request) error {
		if !isLocalHost(r.Host) {
			return protocol.Errorf(protocol.Forbidden, "this gateway has no keys, and so answers only for this machine, not for the host %.100q: configure auth, or say insecure", r.Host)
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// isLocalHost tells whether a Host header names this machine.
func isLocalHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

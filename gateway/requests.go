package gateway

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/fairlead/fairlead/gateway/admission"
)

// own gives next the only copy of what came with a request. net/http holds its
// own for as long as the answer lasts, which is the client's to say, and the
// header of one may be as large as its limit: once next uses it no longer it is
// gone. Handlers must not hold it while they wait or write.
func own(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mine := r.WithContext(r.Context())
		mine.Trailer = nil // nobody reads it
		r.Header, r.Trailer, r.RequestURI, r.URL = nil, nil, "", new(url.URL)
		next.ServeHTTP(w, mine)
	})
}

// limitRequests refuses requests of addresses that have too many in progress.
// Those that it lets through are until next has returned: it writes what the
// client may let wait before that. A WebSocket is an attachment from then on.
func (g *Gateway) limitRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := g.clientOf(r).counted()
		err := g.door.Serve(from)
		if errors.Is(err, admission.ErrFlood) {
			panic(http.ErrAbortHandler) // the connection, or the stream of HTTP/2, ends without an answer
		}
		defer g.door.Served(from)
		if err != nil {
			g.problem(w, gistOf(r), err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

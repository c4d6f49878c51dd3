package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/clients/js"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/gateway/demo"
	webpage "github.com/fairlead/fairlead/gateway/page" // a page of history is called page
	"github.com/fairlead/fairlead/protocol"
)

// routes is the map of the HTTP interface.
func (g *Gateway) routes() http.Handler {
	r := chi.NewRouter()
	r.Route("/"+protocol.Version, func(r chi.Router) {
		r.Get("/attach", g.handle(g.handleAttach))
		r.Post("/attach", g.handle(g.handleAttach))
		r.Post("/commands", g.handle(g.handleCommands))
		r.Post("/publish", g.handle(g.handleFanout))
		r.Post("/tickets", g.handle(g.handleTickets))
		r.Post("/revoke", g.handle(g.handleRevoke))
		r.Get("/ping", g.handle(g.handlePing))
		r.Get("/client.js", g.watched(g.serveClient()))
		r.Route("/channels/{channel}/messages", func(r chi.Router) {
			r.Post("/", g.handle(g.handlePublish))
			r.Get("/", g.handle(g.handleHistory))
			r.Delete("/", g.handle(g.handlePurge))
		})
	})
	r.Get("/healthz", g.handle(g.handleHealth))
	r.Get("/readyz", g.handle(g.handleReady))
	r.Get("/metrics", g.handle(g.handleMetrics(promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{}))))
	r.Mount("/doctor", g.watched(webpage.Handler("/doctor", doctor.Page, "there is nothing here: the page is at /doctor")))
	r.Mount("/", g.watched(demo.Handler()))
	r.NotFound(g.handle(func(http.ResponseWriter, *http.Request) error {
		return protocol.Errorf(protocol.NotFound, "there is nothing here: PROTOCOL.md lists what there is")
	}))
	r.MethodNotAllowed(g.handle(func(w http.ResponseWriter, req *http.Request) error {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if r.Match(chi.NewRouteContext(), method, req.URL.Path) {
				w.Header().Add("Allow", method) // RFC 9110, section 15.5.6
			}
		}
		return protocol.Errorf(protocol.MethodNotAllowed, "%s is not for this resource: PROTOCOL.md says what is", req.Method)
	}))
	return r
}

// serveClient serves the JavaScript client of this very version.
func (g *Gateway) serveClient() http.HandlerFunc {
	sum := sha256.Sum256(js.Bundle)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", "no-cache") // asked for each time; the ETag makes that cheap
		h.Set("ETag", etag)
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "client.js", time.Time{}, bytes.NewReader(js.Bundle))
	}
}

// giveTime bounds how long a client may take to take its answer, and to send a
// body that nobody reads. What streams sets bounds of its own, and so does
// reading a body.
func (g *Gateway) giveTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, control := time.Now(), http.NewResponseController(w)
		_ = control.SetWriteDeadline(now.Add(g.limits().WriteStall)) // not supported in some tests
		if r.ContentLength != 0 {
			_ = control.SetReadDeadline(now.Add(g.limits().BodyStall)) // net/http reads what a handler leaves before it answers
			defer g.within(r, control)()
		}
		next.ServeHTTP(w, r)
	})
}

// watched has a drain cut off an answer that another package writes, as it does
// those of this one.
func (g *Gateway) watched(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to := newResponseSink(w, g.door.Stall)
		_ = to.setDeadline() // as a whole
		g.answers.begin(to, nil)
		defer g.answers.end(to)
		next.ServeHTTP(w, r)
		g.countStall("write_stall", to.control.Flush()) // fails only if nobody is there to read it
	}
}

// limitHeaders refuses headers that are too large. A server that reads much
// larger ones lets them know what to do.
func (g *Gateway) limitHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.door.Header(headerSize(r)); err != nil {
			g.problem(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// headerSize is how many bytes the request's header has in HTTP/1.1.
func headerSize(r *http.Request) int {
	const blanks, host, newline = len("  \r\n"), len("Host: \r\n"), len("\r\n")
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + blanks + host + len(r.Host) + newline
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(": ") + len(value) + newline
		}
	}
	return n
}

func (g *Gateway) handlePing(w http.ResponseWriter, _ *http.Request) error {
	return g.marshalJSON(w, http.StatusOK, g.ping())
}

// handleMetrics shows the metrics to origins, and to everybody if the gateway is open.
func (g *Gateway) handleMetrics(metrics http.Handler) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		grant, err := g.identify(r.Context(), g.clientOf(r), credentialOf(r), "")
		if err != nil {
			return err
		}
		if grant.Source != auth.FromAPIKey && grant.Source != auth.FromNoKeys {
			return protocol.Errorf(protocol.Forbidden, "metrics need an API key")
		}
		g.watched(metrics).ServeHTTP(w, r)
		return nil
	}
}

// handleHealth says that the process is alive.
func (g *Gateway) handleHealth(w http.ResponseWriter, _ *http.Request) error {
	return g.marshalJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
}

// handleReady says whether clients should be sent here.
func (g *Gateway) handleReady(w http.ResponseWriter, r *http.Request) error {
	if g.draining.Load() {
		return errDraining()
	}
	if err := g.broker.Ready(); err != nil {
		return err
	}
	return g.handleHealth(w, r)
}

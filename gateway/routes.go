package gateway

import (
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
		r.Get("/client.js", g.watched(webpage.NewFile("text/javascript; charset=utf-8", js.Bundle)))
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

// watched has an answer that another package writes from memory taken as those
// of this one are: part by part, or it is cut off, as it is by a drain.
func (g *Gateway) watched(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to := newResponseSink(w, g.stallOf(w))
		_ = to.setDeadline() // of what is no body
		g.answers.begin(to, nil)
		defer g.answers.end(to)
		next.ServeHTTP(inParts{w, to}, r)
		g.countStall("write_stall", to.control.Flush()) // fails only if nobody is there to read it
	}
}

// inParts is a response of which each part has its time.
type inParts struct {
	http.ResponseWriter

	to *responseSink
}

// Write implements io.Writer.
func (p inParts) Write(b []byte) (int, error) {
	if err := p.to.writeParts(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// limitHeaders refuses headers that are too large. A server that reads much
// larger ones lets them know what to do. Either way the request goes through counted.
func (g *Gateway) limitHeaders(next http.Handler, counted func(http.Handler) http.Handler) http.Handler {
	next = counted(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.door.Header(headerSize(r)); err != nil { // before proxies are followed, for which it changes
			counted(g.handle(func(http.ResponseWriter, *http.Request) error { return err })).ServeHTTP(w, r)
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

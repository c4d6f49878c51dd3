// Package gateway is the HTTP edge: it attaches clients over the best transport
// that their network lets through, carries out their commands, and takes what
// origins publish. A transport is a small loop round a reader of the log, so a
// client's cursor is good on every transport and every node.
//
// PROTOCOL.md says what travels; this package says how.
package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
)

// Options configure a Gateway. The zero value of a field is its default.
type Options struct {
	Beat        time.Duration // between beats, unless a client asks for others: 15 s
	DrainWindow time.Duration // over which a drain spreads its goodbyes: 5 s
	Limits      Limits
	Logger      *slog.Logger // slog.Default()
	Version     string       // shown in metrics

	// Auth tells what tokens and API keys grant: nil leaves the gateway open, to
	// everybody and for everything. It is closed by whoever made it.
	Auth  *auth.Verifier
	Grace time.Duration // that an attachment goes on after its grant has ended: 10 s
	// Origins are the pages that may use the gateway beside those that it serves,
	// such as https://app.example.com, https://*.example.com or *: none.
	Origins []string
	// LocalOnly is set to answer only requests for this machine by a name of its
	// own: a page elsewhere could have its name lead here (DNS rebinding).
	LocalOnly bool

	// TrustedProxies are whose word counts for where a request comes from: none.
	TrustedProxies []netip.Prefix
	// Forwarded is set if the trusted proxies tell that by Forwarded (RFC 7239) and not by X-Forwarded-For.
	Forwarded bool
}

func (o Options) withDefaults() Options {
	o.Beat = cmp.Or(o.Beat, 15*time.Second)
	o.DrainWindow = cmp.Or(o.DrainWindow, 5*time.Second)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// The beats that a client may ask for.
const (
	minBeat = 5 * time.Second
	maxBeat = time.Minute
)

// A Gateway serves clients and origins from one broker.
type Gateway struct {
	broker  *broker.Broker
	options Options
	log     *slog.Logger
	metrics *metrics
	router  http.Handler
	policy  atomic.Pointer[policy]
	grace   atomic.Int64 // Options.Grace, in nanoseconds
	access  *access
	netKey  []byte // of the hints in welcomes
	door    *admission.Door
	answers *answers

	serial atomic.Uint64 // numbers attachments

	drain     chan struct{} // closed when a drain begins
	draining  atomic.Bool
	window    context.Context // of the drain: done when it is over
	endWindow context.CancelFunc
	wg        sync.WaitGroup // of attachments, polls, and the goroutines of WebSockets

	mu          sync.Mutex // guards the following
	attachments map[string]*attachment
}

// New makes a gateway on an open broker. It must be drained before the broker is closed.
func New(b *broker.Broker, o Options) (*Gateway, error) {
	g := &Gateway{
		broker:      b,
		options:     o.withDefaults(),
		netKey:      []byte("fairlead net " + b.Identity()),
		drain:       make(chan struct{}),
		attachments: make(map[string]*attachment),
		access:      newAccess(),
		answers:     newAnswers(),
	}
	g.window, g.endWindow = context.WithCancel(context.Background())
	g.log = g.options.Logger
	g.metrics = newMetrics(g)
	g.door = admission.New(o.Limits, g.countRefused, g.cutStuck)
	g.router = g.routes()
	if err := g.Reload(o); err != nil {
		return nil, err
	}
	return g, b.Relay(g.relayed)
}

// Handler serves everything that PROTOCOL.md names, and the demo page.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.policy.Load().entry.ServeHTTP(w, r) })
}

// beat is the interval that a client that asked for so many milliseconds gets.
func (g *Gateway) beat(asked int64) time.Duration {
	if asked == 0 {
		return g.options.Beat
	}
	return max(time.Duration(min(asked, maxBeat.Milliseconds()))*time.Millisecond, minBeat)
}

// enter counts something that a drain has to wait for, unless that has begun.
// The caller calls wg.Done.
func (g *Gateway) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enterLocked()
}

func (g *Gateway) enterLocked() error {
	if g.draining.Load() {
		return errDraining()
	}
	g.wg.Add(1)
	return nil
}

// register makes an attachment known to commands and drains, unless a drain has begun.
func (g *Gateway) register(a *attachment) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.enterLocked(); err != nil {
		return err
	}
	g.attachments[a.id] = a // under the same lock: a drain sees it, or refuses it
	g.metrics.attachments.WithLabelValues(string(a.transport)).Inc()
	return nil
}

func (g *Gateway) unregister(a *attachment) {
	g.mu.Lock()
	delete(g.attachments, a.id)
	g.mu.Unlock()
	g.metrics.attachments.WithLabelValues(string(a.transport)).Dec()
	g.wg.Done()
}

// cutStuck cuts off the clients that hold more than their share of what is to
// be written, or of all if that is too much, and have taken too little of it for
// admission.PressedStall.
func (g *Gateway) cutStuck() {
	for range g.cut(false) {
		g.countRefused("pending")
	}
}

// cut cuts off those clients that have taken too little for admission.PressedStall,
// all of them or the ones that are over their share, and returns how many there were.
func (g *Gateway) cut(all bool) int {
	before := time.Now().Add(-admission.PressedStall)
	n := g.answers.cutStuck(before, all)
	for _, a := range g.all() {
		if (all || a.share.Over()) && a.cutIfStuck(before) {
			n++
		}
	}
	return n
}

// all are the attachments of now.
func (g *Gateway) all() []*attachment {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.attachments))
}

// wakeAll makes every attachment find out anew when it has something to do.
func (g *Gateway) wakeAll() {
	for _, a := range g.all() {
		a.wake()
	}
}

func (g *Gateway) attachment(id string) *attachment {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.attachments[id]
}

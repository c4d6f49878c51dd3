package gateway

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

func errDraining() *protocol.Error {
	e := protocol.Errorf(protocol.Unavailable, "this server is shutting down: attach again, another one will answer")
	e.RetryAfter = time.Second
	return e
}

// DrainStall is how long a client may take nothing of what is written to it when
// the window of a drain is over.
const DrainStall = admission.PressedStall

// Drain ends service in good order: readiness turns false, nobody new is
// attached, and every attachment is sent what it is still owed, its position
// and a goaway, spread over the drain window. It returns when all have ended,
// or when ctx does. The HTTP server should be shut down afterwards, and ctx be
// ended after that: until then, who does not finish is cut off when the window is
// over, a body or a hello that has not come at once, and an answer or a stream of
// which nothing is taken for DrainStall when that time has passed.
func (g *Gateway) Drain(ctx context.Context) error {
	g.mu.Lock()
	first := !g.draining.Swap(true)
	if first {
		close(g.drain)
	}
	leaving := slices.Collect(maps.Values(g.attachments))
	g.mu.Unlock()

	if first {
		time.AfterFunc(g.options.DrainWindow, g.endWindow)
		time.AfterFunc(max(g.options.DrainWindow, DrainStall), func() { g.keepCutting(ctx) })
	}
	if n := len(leaving); n > 0 && first {
		g.log.Info("draining", "attachments", n, "window", g.options.DrainWindow)
		g.sayGoodbye(ctx, leaving)
	}
	done := make(chan struct{})
	go func() { // ends with g.wg, whatever becomes of ctx
		defer close(done)
		g.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepCutting cuts off, every second until ctx is done, who takes nothing: what
// is written last begins when others have been cut off.
func (g *Gateway) keepCutting(ctx context.Context) {
	if ctx.Err() == nil {
		g.cut(true)
		time.AfterFunc(time.Second, func() { g.keepCutting(ctx) })
	}
}

// sayGoodbye sends the goaways, a few at a time, at an even rate over the window.
func (g *Gateway) sayGoodbye(ctx context.Context, leaving []*attachment) {
	const steps = 50
	ticker := time.NewTicker(max(g.options.DrainWindow/steps, time.Millisecond))
	defer ticker.Stop()
	for i := range steps {
		from, to := len(leaving)*i/steps, len(leaving)*(i+1)/steps
		if from == to {
			continue // as few clients need not wait for the window's end
		}
		for _, a := range leaving[from:to] {
			a.goAway("drain")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			for _, a := range leaving[to:] { // no time left: all at once
				a.goAway("drain")
			}
			return
		}
	}
}

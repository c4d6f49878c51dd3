package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance"
	"github.com/fairlead/fairlead/gateway"
)

type serveCmd struct {
	config      `embed:""`
	Config      string `name:"config" variable:"FAIRLEAD_CONFIG" placeholder:"FILE" help:"A YAML file of settings."`
	PrintConfig bool   `name:"print-config" help:"Print the settings in force as such a file, with where each came from, and end."`
}

// Run serves until ctx is done, and then drains.
func (cmd *serveCmd) Run(ctx context.Context, std stdio, sources *sources) error {
	report := cmd.check(sources.originOf)
	if err := report.err(); err != nil {
		return err
	}
	if cmd.PrintConfig {
		return cmd.print(std.out, sources.originOf)
	}
	return serve(ctx, &cmd.config, std, sources, report)
}

// closeGrace is what the process takes at most, beyond the drain window, to end
// in order. Clients can make it take half of that, as the gateway's Drain says,
// and who takes something all the time the whole of it.
const closeGrace = 10 * time.Second

// serve runs a gateway until ctx is done, and then drains it. The report is the
// one on its settings.
func serve(ctx context.Context, c *config, std stdio, sources *sources, report *report) (err error) {
	hangup := listenToHangups() // from here on it does not end the process
	defer hangup.stop()
	log, level := c.logger(std.err)
	report.log(log)
	guard, err := c.openGuard(nil, sources.originOf, log)
	if err != nil {
		return err
	}
	r := &reloader{running: c, guard: guard, level: level, sources: sources, log: log}
	defer func() { r.guard.close() }()
	r.node, err = openNode(ctx, c, guard.verifier, log) // before listening: whoever finds the port open finds the log too
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := c.ending(ctx)
		defer cancel()
		err = errors.Join(err, r.node.close(ctx))
	}()
	r.entrance, err = entrance.Open(ctx, c.entrance(log))
	if err != nil {
		return err
	}
	err = c.checkEntrance(r.entrance.Addr(), report)
	if err == nil {
		err = r.node.collect(r.entrance)
	}
	if err != nil {
		return errors.Join(err, r.entrance.Close())
	}
	serving, end := context.WithCancel(ctx)
	var reloads sync.WaitGroup
	reloads.Go(func() { r.run(serving, hangup, end) })
	err = serveHTTP(serving, c, r.node, r.entrance, std.out, log, c.banner(r.entrance.Addr(), guard.options.Keys, sources))
	end()
	reloads.Wait()
	return err
}

// ending bounds what is done when ctx has ended.
func (c *config) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), c.Drain+closeGrace)
}

// checkEntrance refuses to be open beyond this machine if that is where the name to listen on has led.
func (c *config) checkEntrance(addr net.Addr, r *report) error {
	if c.onlyLocal() && !isLoopback(addr) {
		r.wrong("listen", "%s", mustNotBeOpen)
	}
	return r.err()
}

// serveHTTP serves the node until ctx is done, and then drains it. It prints
// the banner when it serves, and closes the entrance.
func serveHTTP(ctx context.Context, c *config, n *node, e *entrance.Entrance, out io.Writer, log *slog.Logger, banner string) error {
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, n.handler) }() // ends with Shutdown or Close, below
	if _, err := io.WriteString(out, banner); err != nil {
		return errors.Join(err, e.Close(), <-served)
	}
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve %s: %w", e.Addr(), err), e.Close())
	case <-ctx.Done():
	}
	log.Info("draining", "window", c.Drain)
	down, cancel := c.ending(ctx)
	var cutting sync.WaitGroup
	defer cutting.Wait()
	defer cancel()
	cutting.Go(func() { c.keepCutting(down, e) })
	late := n.drain(down) // only ever because the time is over
	// Streams are over by now; what is left are requests about to be answered.
	left, err := e.Shutdown(down)
	if late != nil || left > 0 {
		log.Warn("the last connections were cut off, because their clients took too little of what they were sent: they come back by themselves", "connections", left, "after", c.Drain+closeGrace)
	}
	return errors.Join(err, <-served)
}

// keepCutting does with connections what the gateway's Drain does with what is
// written to them, until ctx is done: who takes nothing is cut off.
func (c *config) keepCutting(ctx context.Context, e *entrance.Entrance) {
	for wait := max(c.Drain, gateway.DrainStall); ; wait = time.Second {
		select {
		case <-time.After(wait):
			e.CutStuck(gateway.DrainStall)
		case <-ctx.Done():
			return
		}
	}
}

// logger logs to w at the level that is returned with it, and which may change.
func (c *config) logger(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.level())
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}

func (c *config) level() (level slog.Level) {
	_ = level.UnmarshalText([]byte(c.Log.Level)) // one of four that slog knows
	return level
}

func isLoopback(addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().IsLoopback()
}

// reachable is addr as a client on this machine reaches it.
func reachable(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("localhost", fmt.Sprint(ap.Port()))
}

// place is where the log is, for people: without passwords.
func (c *config) place() string {
	if c.NATS == "" {
		dir, err := filepath.Abs(c.Data)
		if err != nil {
			return c.Data
		}
		return dir
	}
	var places []string
	for part := range strings.SplitSeq(c.NATS, ",") {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil {
			u.User = nil // a token of NATS stands where a user's name would
			places = append(places, u.String())
		}
	}
	return strings.Join(places, ", ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"
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
	return serve(ctx, &cmd.config, std, report)
}

// closeGrace is what the process takes at most, beyond the drain window, to end in order.
const closeGrace = 10 * time.Second

// serve runs a gateway until ctx is done, and then drains it.
func serve(ctx context.Context, c *config, std stdio, report *report) (err error) {
	log := c.logger(std.err)
	report.log(log)
	node, err := openNode(ctx, c, log) // before listening: whoever finds the port open finds the log too
	if err != nil {
		return err
	}
	ending := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), c.Drain+closeGrace)
	}
	defer func() {
		ctx, cancel := ending()
		defer cancel()
		err = errors.Join(err, node.close(ctx))
	}()
	listener, err := c.openListener(ctx, log)
	if err != nil {
		return err
	}
	if c.open() && !c.Insecure && !isLoopback(listener.Addr()) { // a name that leads elsewhere
		report.wrong("listen", "%s", mustNotBeOpen)
		return errors.Join(report.err(), listener.Close())
	}
	if err := node.collect(listener.connections); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler:           node.handler,
		ReadHeaderTimeout: c.Limits.HeaderWait,
		IdleTimeout:       c.Limits.Idle,
		MaxHeaderBytes:    int(c.Limits.Header),
		// No WriteTimeout: streams last, and each of their writes has its own deadline.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- listener.serve(ctx, server) }() // ends with Shutdown or Close, below
	if c.open() && !isLoopback(listener.Addr()) {
		log.Warn("everybody who reaches this address may do everything, as insecure says", "address", listener.Addr().String())
	}
	if err := banner(std.out, c, listener.Addr()); err != nil {
		return errors.Join(err, server.Close())
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	log.Info("draining", "window", c.Drain)
	down, cancel := ending()
	defer cancel()
	err = node.drain(down)
	// Streams are over by now; what is left are requests about to be answered.
	if stuck := server.Shutdown(down); stuck != nil {
		err = errors.Join(err, stuck, server.Close())
	}
	<-served
	return err
}

func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // one of four that slog knows
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func isLoopback(addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().IsLoopback()
}

// banner prints where the gateway listens, where the log is, who may come in,
// and what to try. Its first line is for programs as well.
func banner(w io.Writer, c *config, addr net.Addr) error {
	who, token, as := "it is open: whoever reaches it may do everything", "", ""
	if !c.open() {
		who = "whoever shows a token or an API key may do what that grants"
	}
	if c.Auth.hasAnonymous() {
		who += "; everybody else, what auth.anonymous does"
	}
	if c.Auth.hasKeys() {
		as = ` -H "Authorization: Bearer $TOKEN"`
		token = "  TOKEN=$(fairlead token --subscribe 'chat.*' --publish 'chat.*') # with this gateway's settings\n"
	}
	_, err := fmt.Fprintf(w, `fairlead listening on %[1]s
the log is kept in %[2]s
%[3]s

Try:
%[4]s  open %[1]s/                                  # the demo, in a browser
  curl -N%[5]s -H 'Accept: text/event-stream' '%[1]s/v1/attach?channel=chat.42'
  curl%[5]s -H 'Content-Type: application/json' -d '{"data":"hello"}' %[1]s/v1/channels/chat.42/messages
`, c.url(addr), c.place(), who, token, as)
	return err
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

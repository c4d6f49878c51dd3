package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/cmd/fairlead/entrance"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/gateway/auth"
)

// A node is a gateway over its log.
type node struct {
	handler http.Handler
	collect func(prometheus.Collector) error // shows it in the metrics too
	reload  func(gateway.Options) error      // puts in force what may change
	drain   func(context.Context) error      // sends the clients away
	close   func(context.Context) error      // closes the log; after drain
}

// openNode opens the log and a gateway over it that lets in whom verifier does.
func openNode(ctx context.Context, c *config, verifier *auth.Verifier, log *slog.Logger) (*node, error) {
	b, err := broker.Open(ctx, broker.Options{
		Dir:         c.Data,
		URL:         c.NATS,
		Stream:      c.Stream.Name,
		Prefix:      c.Stream.Prefix,
		MaxAge:      c.Stream.MaxAge,
		MaxBytes:    int64(c.Stream.MaxBytes),
		Dedupe:      c.Stream.Dedupe,
		Replicas:    c.Stream.Replicas,
		SyncAlways:  c.Stream.Sync == "always",
		TailBytes:   int(c.TailBytes),
		CatchUps:    c.CatchUps,
		DiskReserve: int64(c.DiskReserve),
		Logger:      log,
	})
	if err != nil && c.NATS != "" { // which it names, with the password
		err = errors.New(strings.ReplaceAll(err.Error(), c.NATS, c.place()))
	}
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(b, c.gateway(verifier, log))
	if err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return &node{handler: g.Handler(), collect: g.Collect, reload: g.Reload, drain: g.Drain, close: b.Close}, nil
}

// gateway is the settings as the gateway has them.
func (c *config) gateway(verifier *auth.Verifier, log *slog.Logger) gateway.Options {
	version, _ := build()
	return gateway.Options{
		Beat:        c.Beat,
		DrainWindow: c.Drain,
		Limits:      c.Limits.gateway(),
		Logger:      log,
		Version:     version,

		Auth:      verifier,
		Grace:     c.Auth.Grace,
		Origins:   c.Origins,
		LocalOnly: c.onlyLocal(),

		TrustedProxies: c.TrustedProxy,
		Forwarded:      c.ForwardedHeader == "forwarded",
	}
}

// gateway is the limits as the gateway has them.
func (l *limitsConfig) gateway() gateway.Limits {
	return gateway.Limits{
		Header:     int(l.Header),
		Frame:      int(l.Frame),
		Batch:      int(l.Batch),
		Fanout:     int(l.Fanout),
		Channels:   l.Channels,
		History:    l.History,
		Wait:       l.Wait,
		BodyStall:  l.BodyStall,
		WriteStall: l.WriteStall,

		RequestsPerIP:          orNone(l.RequestsPerIP),
		Attachments:            orNone(l.Attachments),
		AttachmentsPerIP:       orNone(l.AttachmentsPerIP),
		AttachmentsPerSub:      orNone(l.AttachmentsPerSub),
		Attaches:               orNone(l.Attaches),
		AttachesPerIP:          orNone(l.AttachesPerIP),
		GuessesPerIP:           orNone(l.GuessesPerIP),
		Tickets:                orNone(l.Tickets),
		Bodies:                 orNone(int(l.Bodies)),
		UploadsPerClient:       orNone(l.UploadsPerClient),
		Commands:               orNone(l.Commands),
		CommandsPerIP:          orNone(l.CommandsPerIP),
		Publishes:              orNone(l.Publishes),
		PublishBytes:           orNone(int(l.PublishBytes)),
		PublishesPerSub:        orNone(l.PublishesPerSub),
		PublishBytesPerSub:     orNone(int(l.PublishBytesPerSub)),
		CatchUpsPerClient:      orNone(l.CatchUpsPerClient),
		PatternsPerClient:      orNone(l.PatternsPerClient),
		SubscriptionsPerClient: orNone(l.SubscriptionsPerClient),
		ReadsPerIP:             orNone(l.ReadsPerIP),
		Pending:                orNone(int(l.Pending)),
	}
}

// entrance is the settings as the entrance has them.
func (c *config) entrance(log *slog.Logger) entrance.Options {
	return entrance.Options{
		Listen: c.Listen,
		Logger: log,

		Cert: c.TLS.Cert,
		Key:  c.TLS.Key,
		HSTS: c.TLS.HSTS,
		ACME: entrance.ACME{
			Domains:     c.ACME.Domains,
			Email:       c.ACME.Email,
			Directory:   c.ACME.Directory,
			AcceptTerms: c.ACME.AcceptTerms,
			Cache:       cmp.Or(c.ACME.Cache, filepath.Join(c.Data, "acme")),
		},
		ProxyProtocol: c.ProxyProtocol,

		TrustedProxies:   c.TrustedProxy,
		Connections:      c.Limits.Connections,
		ConnectionsPerIP: c.Limits.ConnectionsPerIP,
		Header:           2 * int(c.Limits.Header), // the gateway refuses what is a little too large, says what to do, and counts it
		HeaderWait:       c.Limits.HeaderWait,
		Idle:             c.Limits.Idle,
		WriteStall:       c.Limits.WriteStall,
	}
}

// orNone is a limit of which 0 means none; to the gateway that is its default, and -1 is none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

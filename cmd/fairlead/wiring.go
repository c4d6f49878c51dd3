package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway"
)

// A node is a gateway over its log.
type node struct {
	handler http.Handler
	drain   func(context.Context) error // sends the clients away
	close   func(context.Context) error // closes the log; after drain
}

// openNode opens the log and a gateway over it.
func openNode(ctx context.Context, c *config, log *slog.Logger) (*node, error) {
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
		MaxMessage:  int(c.Limits.Frame),
		Logger:      log,
	})
	if err != nil {
		return nil, err
	}
	version, _ := build()
	g, err := gateway.New(b, gateway.Options{
		Beat:        c.Beat,
		DrainWindow: c.Drain,
		Limits:      c.Limits.gateway(),
		Logger:      log,
		Version:     version,

		TrustedProxies: c.TrustedProxy,
		Forwarded:      c.ForwardedHeader == "forwarded",
	})
	if err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return &node{handler: g.Handler(), drain: g.Drain, close: b.Close}, nil
}

// gateway is the limits as the gateway has them.
func (l *limitsConfig) gateway() gateway.Limits {
	return gateway.Limits{
		Frame:      int(l.Frame),
		Batch:      int(l.Batch),
		Fanout:     int(l.Fanout),
		Channels:   l.Channels,
		History:    l.History,
		Wait:       l.Wait,
		BodyStall:  l.BodyStall,
		WriteStall: l.WriteStall,

		Attachments:      orNone(l.Attachments),
		AttachmentsPerIP: orNone(l.AttachmentsPerIP),
		Attaches:         orNone(l.Attaches),
		AttachesPerIP:    orNone(l.AttachesPerIP),
		Commands:         orNone(l.Commands),
		CommandsPerIP:    orNone(l.CommandsPerIP),
		Publishes:        orNone(l.Publishes),
		PublishBytes:     orNone(int(l.PublishBytes)),
		ReadsPerIP:       orNone(l.ReadsPerIP),
		Pending:          orNone(int(l.Pending)),
	}
}

// orNone is a limit of which 0 means none; to the gateway that is its default, and -1 is none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

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
		Limits: gateway.Limits{
			Frame:      int(c.Limits.Frame),
			Batch:      int(c.Limits.Batch),
			Channels:   c.Limits.Channels,
			History:    c.Limits.History,
			Wait:       c.Limits.Wait,
			BodyStall:  c.Limits.BodyStall,
			WriteStall: c.Limits.WriteStall,
		},
		Logger:  log,
		Version: version,
	})
	if err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return &node{handler: g.Handler(), drain: g.Drain, close: b.Close}, nil
}

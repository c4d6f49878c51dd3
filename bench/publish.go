package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// warmUp is how long a load runs before it is measured.
const warmUp = time.Second

type publishCmd struct {
	gatewayFlags
	Clients int     `default:"64" help:"How many connections, each of which publishes when its last message is stored."`
	Seconds float64 `default:"5" help:"How long."`
	Bytes   int     `default:"100" help:"The size of a payload."`
}

// Run publishes as fast as it is acknowledged.
func (c *publishCmd) Run(ctx context.Context, out io.Writer) (err error) {
	g, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := g.stop(); err == nil {
			err = stopped
		}
	}()
	took := make([]times, c.Clients)
	errs := make([]error, c.Clients)
	from := time.Now().Add(warmUp)
	until := from.Add(time.Duration(c.Seconds * float64(time.Second)))
	var wg sync.WaitGroup
	for i := range c.Clients {
		wg.Go(func() { took[i], errs[i] = c.publish(ctx, g.address, fmt.Sprintf("bench.%d", i), from, until) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var all times
	for _, t := range took {
		all = append(all, t...)
	}
	_, err = fmt.Fprintf(out, "publish: %d clients, %d bytes: %.0f acknowledged/s, %v\n", c.Clients, c.Bytes, float64(len(all))/c.Seconds, all)
	return err
}

// publish is one client. It returns how long those acknowledgements took that came between from and until.
func (c *publishCmd) publish(ctx context.Context, address, channel string, from, until time.Time) (took times, err error) {
	p, err := newPublisher(ctx, address, channel)
	if err != nil {
		return nil, err
	}
	defer p.close()
	data := []byte(`"` + strings.Repeat("x", c.Bytes) + `"`)
	for ctx.Err() == nil {
		began := time.Now()
		if err := p.publish(data); err != nil {
			return nil, err
		}
		now := time.Now()
		if now.After(until) {
			return took, nil
		}
		if now.After(from) {
			took = append(took, now.Sub(began))
		}
	}
	return nil, context.Cause(ctx)
}

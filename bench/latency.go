package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

type latencyCmd struct {
	gatewayFlags
	Transport string  `default:"websocket" enum:"sse,websocket" help:"sse or websocket."`
	Rate      float64 `default:"400" help:"Messages a second."`
	Seconds   float64 `default:"5" help:"How long."`
}

// publishers take turns, so that one slow publish does not hold up the next.
const publishers = 8

// Run publishes at the rate, whatever comes of it, and measures each message's
// way from the moment at which it was due to be sent.
func (c *latencyCmd) Run(ctx context.Context, out io.Writer) (err error) {
	g, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := g.stop(); err == nil {
			err = stopped
		}
	}()
	a, err := attach(ctx, g.address, protocol.Transport(c.Transport), "bench.latency")
	if err != nil {
		return err
	}
	defer a.conn.Close()
	origin := time.Now()
	warm := int(c.Rate * warmUp.Seconds())
	count := warm + int(c.Rate*c.Seconds)
	sent := make(chan error, 1)
	go func() { sent <- c.send(ctx, g.address, origin, count) }() // waited for below
	took := make(times, 0, count)
	readErr := a.conn.SetReadDeadline(origin.Add(warmUp + time.Duration(c.Seconds*float64(time.Second)) + 10*time.Second))
	for readErr == nil && len(took) < count {
		var frame []byte
		if frame, readErr = a.message(); readErr == nil {
			took = append(took, time.Since(origin)-dueIn(frame))
		}
	}
	if err := errors.Join(<-sent, readErr); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "latency: %s, %.0f/s, %d messages: %v\n", c.Transport, c.Rate, count-warm, took[warm:])
	return err
}

// send publishes count messages at the rate; each tells when it was due.
func (c *latencyCmd) send(ctx context.Context, address string, origin time.Time, count int) error {
	due := make(chan time.Duration, count)
	errs := make([]error, publishers)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			p, err := newPublisher(ctx, address, "bench.latency")
			if err != nil {
				errs[i] = err
				return
			}
			defer p.close()
			for at := range due {
				if errs[i] = p.publish(strconv.AppendInt(nil, int64(at), 10)); errs[i] != nil {
					return
				}
			}
		})
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / c.Rate))
	defer ticker.Stop()
	for range count {
		select {
		case <-ticker.C:
			due <- time.Since(origin)
		case <-ctx.Done():
			count = 0
		}
	}
	close(due)
	wg.Wait()
	return errors.Join(errs...)
}

// dueIn is what send wrote into the message's data.
func dueIn(frame []byte) time.Duration {
	_, rest, _ := bytes.Cut(frame, []byte(`"data":`))
	digits, _, _ := bytes.Cut(rest, []byte(`,`))
	n, _ := strconv.ParseInt(string(digits), 10, 64)
	return time.Duration(n)
}

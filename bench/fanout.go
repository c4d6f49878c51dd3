package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

type fanoutCmd struct {
	gatewayFlags
	Transport string `default:"sse" enum:"sse,websocket" help:"sse or websocket."`
	Clients   int    `default:"1000" help:"How many attachments."`
	Messages  int    `default:"100" help:"How many messages, one after the other."`
	Bytes     int    `default:"100" help:"The size of a payload."`
}

// Run publishes one message after the other to a channel that all clients
// follow, and counts from the first publish to the last delivery.
func (c *fanoutCmd) Run(ctx context.Context, out io.Writer) (err error) {
	if err := checkDescriptors(c.Clients); err != nil {
		return err
	}
	g, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := g.stop(); err == nil {
			err = stopped
		}
	}()
	all, err := attachAll(ctx, g.address, protocol.Transport(c.Transport), "bench.fanout", c.Clients)
	defer closeAll(all)
	if err != nil {
		return err
	}
	p, err := newPublisher(ctx, g.address, "bench.fanout")
	if err != nil {
		return err
	}
	defer p.close()
	took, err := c.flood(p, all)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "fan-out: %s, %d clients, %d messages of %d bytes: %.0f deliveries/s, %v in all\n", c.Transport,
		c.Clients, c.Messages, c.Bytes, float64(c.Clients*c.Messages)/took.Seconds(), took.Round(time.Microsecond))
	return err
}

func (c *fanoutCmd) flood(p *publisher, all []*attachment) (time.Duration, error) {
	errs := make([]error, len(all)+1)
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() {
			errs[i] = a.conn.SetReadDeadline(time.Now().Add(time.Minute))
			for n := 0; n < c.Messages && errs[i] == nil; n++ {
				_, errs[i] = a.message()
			}
		})
	}
	began := time.Now()
	data := []byte(`"` + strings.Repeat("x", c.Bytes) + `"`)
	for n := 0; n < c.Messages && errs[len(all)] == nil; n++ {
		errs[len(all)] = p.publish(data)
	}
	wg.Wait()
	return time.Since(began), errors.Join(errs...)
}

package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

type idleCmd struct {
	gatewayFlags
	Transport string        `default:"sse" enum:"sse,websocket" help:"sse or websocket."`
	N         int           `short:"n" default:"10000" help:"How many attachments."`
	Settle    time.Duration `default:"20s" help:"How long they are left alone before it counts: more than a beat."`
}

// Run attaches N times to a channel of which nothing comes, and prints what that costs.
func (c *idleCmd) Run(ctx context.Context, out io.Writer) (err error) {
	if err := checkDescriptors(c.N); err != nil {
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
	before, err := g.memory(ctx)
	if err != nil {
		return err
	}
	all, err := attachAll(ctx, g.address, protocol.Transport(c.Transport), "bench.idle", c.N)
	if err != nil {
		closeAll(all)
		return err
	}
	var readers sync.WaitGroup
	for _, a := range all { // beats are read, as clients do
		readers.Go(func() {
			for _, err := a.next(); err == nil; _, err = a.next() {
			}
		})
	}
	defer readers.Wait()
	defer closeAll(all)
	atOnce, err := g.memory(ctx)
	if err != nil {
		return err
	}
	select {
	case <-time.After(c.Settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := g.memory(ctx)
	if err != nil {
		return err
	}
	return c.print(out, before, atOnce, after)
}

func (c *idleCmd) print(out io.Writer, before, atOnce, after memory) error {
	each := func(from, to int) float64 { return float64(to-from) / float64(c.N) / 1024 }
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "transport\tattachments\tRSS before\tRSS after\tKiB each: RSS\tRssAnon\theap in use\tstack in use\tRSS at once\tgoroutines each\t")
	fmt.Fprintf(table, "%s\t%d\t%d MiB\t%d MiB\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", c.Transport, c.N,
		before.resident>>20, after.resident>>20,
		each(before.resident, after.resident), each(before.anonymous, after.anonymous),
		each(before.heap, after.heap), each(before.stack, after.stack),
		each(before.resident, atOnce.resident),
		float64(after.goroutines-before.goroutines)/float64(c.N))
	return table.Flush()
}

// checkDescriptors fails if a process cannot open n connections. Go raises the
// soft limit to the hard one by itself; the gateway is a Go process, too.
func checkDescriptors(n int) error {
	const spare = 200
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if uint64(n+spare) > uint64(limit.Max) {
		return fmt.Errorf("%d connections need more open files than the limit of %d: give a smaller number, or raise it with ulimit -Hn", n, limit.Max)
	}
	return nil
}

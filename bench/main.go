// Command bench measures a gateway over loopback: what an idle attachment
// costs, how fast publishes are acknowledged, how soon they are delivered, and
// how many deliveries there are in a second. The gateway is a process of its
// own; it shares the machine's cores with the load.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"

	"github.com/alecthomas/kong"
)

// program is the command line's grammar.
type program struct {
	Idle    idleCmd    `cmd:"" help:"Memory of attachments on which nothing happens."`
	Publish publishCmd `cmd:"" help:"Acknowledged publishes in a second, over HTTP."`
	Latency latencyCmd `cmd:"" help:"Time from a publish over HTTP to its delivery on one attachment."`
	Fanout  fanoutCmd  `cmd:"" help:"Deliveries in a second, of one channel to many attachments."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) error {
	parser, err := kong.New(new(program), kong.Name("bench"), kong.Description("Measures a gateway over loopback."))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d cores for gateway and load, %s %s/%s\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	command.BindTo(ctx, (*context.Context)(nil))
	command.BindTo(out, (*io.Writer)(nil))
	return command.Run()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

type subCmd struct {
	Channels  []string `arg:"" name:"channel" help:"Channels or patterns, such as chat.42 or 'chat.*'."`
	Transport string   `default:"auto" enum:"auto,websocket,sse,stream,poll" placeholder:"TRANSPORT" help:"auto, websocket, sse, stream or poll."`
	After     string   `placeholder:"ID" help:"Begin after this id; 0 is the earliest message."`
	Last      int      `placeholder:"N" help:"Begin with the last N messages of each channel."`
	JSON      bool     `name:"json" help:"Print the message frames as they come, one a line."`
	Count     int      `placeholder:"N" help:"End after so many messages."`
	remote
}

// Run prints messages until ctx is done, which is the usual end of it, or
// --count of them are printed.
func (cmd *subCmd) Run(ctx context.Context, std stdio, sources *sources) error {
	channels, err := cmd.starts()
	if err != nil {
		return err
	}
	var transports []protocol.Transport
	if cmd.Transport != "auto" {
		transports = append(transports, protocol.Transport(cmd.Transport))
	}
	client, err := cmd.client(io.Discard, sources, transports...) // Detached events say the same
	if err != nil {
		return err
	}
	defer client.Close()
	sub, err := client.Subscribe(ctx, channels)
	if err != nil {
		return err
	}
	defer sub.Close()
	out := printer{out: std.out, json: cmd.JSON, colour: isTerminal(std.out) && sources.env["NO_COLOR"] == ""}
	for cmd.Count == 0 || out.printed < cmd.Count {
		event, err := sub.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return cmd.explain(err, sources)
		}
		if message, ok := event.(*fairlead.Message); ok {
			err = out.print(message)
		} else {
			_, err = fmt.Fprintln(std.err, progress(event))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// starts are the channels with where each begins.
func (cmd *subCmd) starts() (map[string]protocol.Start, error) {
	start := protocol.Start{Last: cmd.Last}
	if cmd.After != "" {
		after, err := protocol.ParseCursor(cmd.After)
		if err != nil {
			return nil, usagef("--after: %s", protocol.ErrorFrom(err).Message)
		}
		start.After = &after
	}
	if cmd.Count < 0 {
		return nil, usagef("--count is %d: it must be 1 or more, or be left out", cmd.Count)
	}
	channels := make(map[string]protocol.Start, len(cmd.Channels))
	for _, channel := range cmd.Channels {
		if err := errors.Join(protocol.CheckPattern(channel), start.Check()); err != nil {
			return nil, usagef("%s", protocol.ErrorFrom(err).Message)
		}
		channels[channel] = start
	}
	return channels, nil
}

// progress is what happened to the subscription, in a line.
func progress(event fairlead.Event) string {
	switch e := event.(type) {
	case *fairlead.Offline:
		return "-- offline: nothing answers at all"
	case *fairlead.Attached:
		if e.From != "" && e.From != e.Transport && e.Reason != "" {
			return fmt.Sprintf("-- attached by %s, no longer by %s (%s), session %s", e.Transport, e.From, safe(e.Reason), safe(e.Session))
		}
		return fmt.Sprintf("-- attached by %s, session %s", e.Transport, safe(e.Session))
	case *fairlead.Unsubscribed:
		return fmt.Sprintf("-- nothing more comes of %s: %s", safe(e.Channel), safe(e.Err.Error()))
	case *fairlead.Detached:
		if e.Transport == "" {
			return fmt.Sprintf("-- no token: %v; next attempt in %s", e.Err, e.Retry.Round(time.Millisecond))
		}
		if e.Retry == 0 {
			return fmt.Sprintf("-- %s ended: %v; the next attempt is under way", e.Transport, e.Err)
		}
		return fmt.Sprintf("-- %s ended: %v; next attempt in %s", e.Transport, e.Err, e.Retry.Round(time.Millisecond))
	case *fairlead.Gap:
		return fmt.Sprintf("-- gap in %s: the messages after %s up to %s are not in the log any more (%s)", safe(e.Channel), e.From, e.To, safe(e.Reason))
	default:
		return fmt.Sprintf("-- %T", event)
	}
}

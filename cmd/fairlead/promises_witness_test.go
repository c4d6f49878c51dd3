package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// sighting is a message that was stored or seen.
type sighting struct{ channel, id, data string }

// endChannel is where a test publishes when it has published everything else:
// a witness of a pattern that it matches ends there.
const endChannel = "load.end"

// witness is what one client saw, in its order.
type witness struct {
	name     string
	messages []sighting
	gaps     []string
	err      error
	done     chan struct{}
}

// patience bounds each test.
const patience = time.Minute

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("it took longer than %v", patience))
	t.Cleanup(cancel)
	return ctx
}

// see notes a message or gap, and tells whether there is more to come.
func (w *witness) see(f frame) (more bool) {
	switch f.Op {
	case protocol.OpMessage:
		if f.Channel == endChannel {
			return false
		}
		w.messages = append(w.messages, sighting{f.Channel, f.ID, string(f.Data)})
	case protocol.OpGap:
		w.gaps = append(w.gaps, fmt.Sprintf("%s %s (%s, %v]", f.Reason, f.Channel, f.From, f.To))
	case protocol.OpError:
		w.gaps = append(w.gaps, "error "+f.Code)
	}
	return true
}

// watch follows the channels with b until the end message.
func (b *bare) watch(ctx context.Context, name string) *witness {
	w := &witness{name: name, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = b.follow(ctx, w.see)
	}()
	return w
}

// watchBy follows pattern from its beginning with the client of clients/go, until the end message.
func watchBy(ctx context.Context, c *http.Client, transport protocol.Transport, pattern string) *witness {
	w := &witness{name: "library by " + string(transport), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = w.subscribe(ctx, c, transport, pattern)
	}()
	return w
}

func (w *witness) subscribe(ctx context.Context, c *http.Client, transport protocol.Transport, pattern string) error {
	client, err := fairlead.New(siteURL, fairlead.Options{Transports: []protocol.Transport{transport}, HTTPClient: c})
	if err != nil {
		return err
	}
	sub, err := client.Subscribe(ctx, map[string]protocol.Start{pattern: {After: new(protocol.Cursor{})}})
	if err != nil {
		return err
	}
	defer sub.Close()
	for more := true; more; {
		event, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *fairlead.Message:
			more = w.see(frame{Op: protocol.OpMessage, Channel: e.Channel, ID: e.ID.String(), Data: e.Data})
		case *fairlead.Gap:
			more = w.see(frame{Op: protocol.OpGap, Channel: e.Channel, From: e.From.String(), To: e.To.String(), Reason: e.Reason})
		}
	}
	return nil
}

// watchers are witnesses of load.>: the library and a bare client by each transport.
func watchers(ctx context.Context, t *testing.T, dial dialFunc) (all []*witness) {
	for _, transport := range protocol.Transports() {
		all = append(all, watchBy(ctx, clientBy(t, dial), transport, "load.>"))
		b := &bare{doors: []door{{clientBy(t, dial), transport}}, channels: []string{"load.>"}}
		all = append(all, b.watch(ctx, "bare client by "+string(transport)))
	}
	return all
}

// sawAll checks that the witness saw each channel's messages as stored says:
// each once, in order, and no others. stored is by channel.
func (w *witness) sawAll(t *testing.T, stored map[string][]sighting) {
	t.Helper()
	<-w.done
	if w.err != nil {
		t.Errorf("%s: %v, after %d messages", w.name, w.err, len(w.messages))
		return
	}
	if len(w.gaps) > 0 {
		t.Errorf("%s: was told of %s", w.name, strings.Join(w.gaps, ", "))
	}
	seen := map[string][]sighting{}
	for _, m := range w.messages {
		seen[m.channel] = append(seen[m.channel], m)
	}
	for channel, want := range stored {
		if got := seen[channel]; !slices.Equal(got, want) {
			t.Errorf("%s: %s", w.name, difference(got, want))
		}
		delete(seen, channel)
	}
	for channel, got := range seen {
		t.Errorf("%s: saw %d messages of %s, of which nothing was acknowledged", w.name, len(got), channel)
	}
}

// difference says where got first differs from want.
func difference(got, want []sighting) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	at := func(list []sighting) string {
		if i < len(list) {
			return fmt.Sprint(list[i])
		}
		return "nothing"
	}
	return fmt.Sprintf("got %d messages, want %d; at %d got %s, want %s", len(got), len(want), i, at(got), at(want))
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// TestPromise3NeverASilentHole changes the log behind the backs of clients
// that have a cursor in it. By each transport they are told exactly what is
// missing, before the next message.
func TestPromise3NeverASilentHole(t *testing.T) {
	t.Run("data directory deleted", func(t *testing.T) {
		t.Parallel()
		ctx := bounded(t)
		dir := t.TempDir()
		s := newSite(t, "--data", dir)
		client := clientBy(t, s.dial)
		ids := postAll(t, client, "1", "2", "3")
		all := slices.Concat(stayers(t, s, away), stayers(t, s, attached))
		expect(ctx, t, all, stored(ids, "1", "2", "3")...)
		s.kill()
		empty(t, dir)
		s.start()
		ids2 := postAll(t, client, `"new"`, `"log"`)
		gap := fmt.Sprintf("gap replaced (%s, %s]", ids[2], withSeq(ids2[0], 0))
		expect(ctx, t, all, append([]string{gap}, stored(ids2, `"new"`, `"log"`)...)...)
	})
	t.Run("data directory restored from a copy", func(t *testing.T) {
		t.Parallel()
		ctx := bounded(t)
		dir, backup := t.TempDir(), t.TempDir()
		s := newSite(t, "--data", dir)
		client := clientBy(t, s.dial)
		ids := postAll(t, client, "1", "2", "3")
		s.stop()
		restore(t, dir, backup)
		s.start()
		ids = append(ids, postAll(t, client, "4", "5")...)
		all := slices.Concat(stayers(t, s, away), stayers(t, s, attached))
		expect(ctx, t, all, stored(ids, "1", "2", "3", "4", "5")...)
		s.kill()
		restore(t, backup, dir)
		s.start()
		// Everybody is told before anything else is stored: a cursor that the log has caught up with looks good.
		gap := fmt.Sprintf("gap ahead (%s, %s]", ids[4], ids[2])
		for _, c := range all {
			c.expect(ctx, t, gap)
		}
		expect(ctx, t, all, stored(postAll(t, client, `"other"`), `"other"`)...)
	})
	t.Run("retention", func(t *testing.T) {
		t.Parallel()
		ctx := bounded(t)
		s := newSite(t, "--data", t.TempDir(), "--stream-max-bytes=64KiB", "--limits-frame=4KiB", "--tail-bytes=64KiB")
		client := clientBy(t, s.dial)
		large := `"` + strings.Repeat("x", 2000) + `"`
		first := postAll(t, client, large)
		all := stayers(t, s, away)
		expect(ctx, t, all, stored(first, large)...)
		postAll(t, client, slices.Repeat([]string{large}, 100)...)
		kept := history(t, client, "load.1")
		if len(kept) == 0 || len(kept) > 40 {
			t.Fatalf("%d of 101 messages are kept", len(kept))
		}
		want := []string{fmt.Sprintf("gap retention (%s, %s]", first[0], before(t, kept[0].ID))}
		for _, m := range kept {
			want = append(want, m.ID+" "+string(m.Data))
		}
		expect(ctx, t, all, want...)
	})
	t.Run("purge", func(t *testing.T) {
		t.Parallel()
		ctx := bounded(t)
		s := newSite(t, "--data", t.TempDir())
		client := clientBy(t, s.dial)
		post(t, client, "load.0", "0") // the log's first message stays, so that this is no retention
		ids := postAll(t, client, "1")
		all := stayers(t, s, away)
		expect(ctx, t, all, stored(ids, "1")...)
		postAll(t, client, "2", "3")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, siteURL+"/v1/channels/load.1/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		var purged receipt
		if err := do(client, r, &purged); err != nil {
			t.Fatal(err)
		}
		gap := fmt.Sprintf("gap purged (0, %s]", purged.ID) // whatever the client had seen: all of it is void
		ids = postAll(t, client, "4")
		s.kill()
		s.start()
		expect(ctx, t, all, append([]string{gap}, stored(ids, "4")...)...)
	})
}

// postAll publishes to load.1, and returns the ids.
func postAll(t *testing.T, client *http.Client, data ...string) (ids []string) {
	t.Helper()
	for _, d := range data {
		ids = append(ids, post(t, client, "load.1", d))
	}
	return ids
}

// stored are messages as a stayer tells of them.
func stored(ids []string, data ...string) (events []string) {
	for i, id := range ids {
		events = append(events, id+" "+data[i])
	}
	return events
}

func withSeq(id string, seq uint64) string {
	epoch, _, _ := strings.Cut(id, "-")
	return protocol.ID{Epoch: epoch, Seq: seq}.String()
}

// before is the position before the message.
func before(t *testing.T, id string) string {
	t.Helper()
	at, err := protocol.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return withSeq(id, at.Seq-1)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(dir + "/" + e.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// restore makes to a copy of from.
func restore(t *testing.T, from, to string) {
	t.Helper()
	empty(t, to)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// stayer is a client of load.1 that reads when the test says so, and keeps its cursor between that.
type stayer struct {
	name string
	read func(ctx context.Context, n int) ([]string, error) // n messages or gaps
}

// What stayers are while they do not read.
type whereabouts bool

const (
	away     whereabouts = false
	attached whereabouts = true // with the library only
)

// stayers are the library's client by each transport, and the bare one if they are away.
func stayers(t *testing.T, s *site, where whereabouts) (all []stayer) {
	t.Helper()
	for _, transport := range protocol.Transports() {
		library := &subscriber{client: subscribing(t, s, transport), stays: where == attached}
		t.Cleanup(library.leave)
		all = append(all, stayer{"library by " + string(transport), library.read})
		if where == away {
			b := &bare{doors: []door{{clientBy(t, s.dial), transport}}, channels: []string{"load.1"}}
			all = append(all, stayer{"bare client by " + string(transport), b.read})
		}
	}
	return all
}

func expect(ctx context.Context, t *testing.T, all []stayer, want ...string) {
	t.Helper()
	for _, c := range all {
		c.expect(ctx, t, want...)
	}
}

// expect checks that what the client reads next is that.
func (c *stayer) expect(ctx context.Context, t *testing.T, want ...string) {
	t.Helper()
	got, err := c.read(ctx, len(want))
	if err != nil {
		t.Errorf("%s: got %.200q: %v", c.name, got, err)
	} else if !slices.Equal(got, want) {
		t.Errorf("%s: got %.200q, want %.200q", c.name, got, want)
	}
}

func (b *bare) read(ctx context.Context, n int) (events []string, err error) {
	err = b.follow(ctx, func(f frame) bool {
		if event := eventOf(f); event != "" {
			events = append(events, event)
		}
		return len(events) < n
	})
	return events, err
}

func eventOf(f frame) string {
	switch f.Op {
	case protocol.OpMessage:
		return f.ID + " " + string(f.Data)
	case protocol.OpGap:
		return fmt.Sprintf("gap %s (%s, %v]", f.Reason, f.From, f.To)
	case protocol.OpError:
		return "error " + f.Code
	}
	return ""
}

// subscriber is the library's client.
type subscriber struct {
	client *fairlead.Client
	stays  bool
	sub    *fairlead.Subscription
	after  protocol.Cursor
}

func subscribing(t *testing.T, s *site, transport protocol.Transport) *fairlead.Client {
	t.Helper()
	client, err := fairlead.New(siteURL, fairlead.Options{Transports: []protocol.Transport{transport}, HTTPClient: clientBy(t, s.dial)})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *subscriber) leave() {
	if s.sub != nil {
		s.sub.Close()
		s.sub = nil
	}
}

func (s *subscriber) read(ctx context.Context, n int) (events []string, err error) {
	if s.sub == nil {
		after := s.after
		if s.sub, err = s.client.Subscribe(context.Background(), map[string]protocol.Start{"load.1": {After: &after}}); err != nil {
			return nil, err
		}
	}
	if !s.stays {
		defer s.leave()
	}
	for len(events) < n {
		event, err := s.sub.Next(ctx)
		if err != nil {
			return events, err
		}
		switch e := event.(type) {
		case *fairlead.Message:
			s.after = protocol.Cursor{e.ID}
			events = append(events, eventOf(frame{Op: protocol.OpMessage, ID: e.ID.String(), Data: e.Data}))
		case *fairlead.Gap:
			s.after = protocol.Cursor{e.To}
			events = append(events, eventOf(frame{Op: protocol.OpGap, Reason: e.Reason, From: e.From.String(), To: e.To.String()}))
		}
	}
	return events, nil
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/fairlead/fairlead/broker/brokertest"
	"github.com/fairlead/fairlead/protocol"
)

func TestMain(m *testing.M) {
	ats.Register() // or the first bubble would own this process-wide goroutine
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// open opens a broker on a directory of the test's and closes it at the end. For use in a bubble.
func open(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MaxAge == 0 {
		// A restart compares ages with the process-wide clock of nats-server,
		// which is the real one, while a bubble lives in the year 2000.
		o.MaxAge = 100 * 365 * 24 * time.Hour
		o.Dedupe = 2 * time.Minute
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	b, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leavesNothing(t, b)
		closeBroker(t, b)
	})
	return b
}

// leavesNothing checks that nothing is held of readers that are closed.
func leavesNothing(t testing.TB, b *Broker) {
	t.Helper()
	if n := len(b.holdings.of); n > 0 {
		t.Errorf("%d clients have subscriptions", n)
	}
	b.tail.mu.RLock()
	defer b.tail.mu.RUnlock()
	for name, w := range b.tail.channels {
		if len(w.entries) == 0 || len(w.follows) > 0 {
			t.Errorf("the window of %s is there with %d entries, %d subscriptions", name, len(w.entries), len(w.follows))
		}
	}
	if n, in := len(b.tail.patterns), b.tail.interest.Count(); n > 0 || in > 0 {
		t.Errorf("%d windows of patterns are there, %d in the list of interest", n, in)
	}
	if n := len(b.tail.shapes); n > 0 {
		t.Errorf("the shapes of patterns with %d prefixes are there", n)
	}
	size := 0
	for _, e := range b.tail.all.entries {
		size += e.size()
	}
	if size != b.tail.bytes {
		t.Errorf("the tail says that it has %d bytes, and has %d", b.tail.bytes, size)
	}
}

func closeBroker(t testing.TB, b *Broker) {
	t.Helper()
	brokertest.Settle()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// deadline is the test's context, with the deadline that nats.go wants.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// bubble runs f with fake time.
var bubble = brokertest.Bubble

func publish(t testing.TB, b *Broker, channel string, payload any) uint64 {
	t.Helper()
	r, err := b.Publish(t.Context(), Publication{Channel: channel, Payload: fmt.Append(nil, payload)})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID.Seq
}

func subscribe(t testing.TB, r *Reader, name string, start protocol.Start) protocol.Cursor {
	t.Helper()
	after, err := r.Subscribe(t.Context(), name, start)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func newReader(t testing.TB, b *Broker) *Reader {
	r := b.NewReader(nil)
	t.Cleanup(r.Close)
	return r
}

func after(id protocol.ID) protocol.Start { return protocol.Start{After: &protocol.Cursor{id}} }

func earliest() protocol.Start { return protocol.Start{After: &protocol.Cursor{}} }

// fill publishes n messages of 100 bytes, on the channels in turn.
func fill(t testing.TB, b *Broker, n int, channels ...string) {
	t.Helper()
	for i := range n {
		publish(t, b, channels[i%len(channels)], strings.Repeat("x", 100))
	}
}

// firstAndLast are the stream's sequences.
func firstAndLast(t testing.TB, b *Broker) (first, last uint64) {
	t.Helper()
	state, err := b.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state.FirstSeq, state.LastSeq
}

// sequence is from, from+step, … up to to, as collect describes messages.
func sequence(from, to, step uint64) (s []string) {
	for ; from <= to; from += step {
		s = append(s, fmt.Sprint(from))
	}
	return s
}

// collect takes n entries, as "<seq>" for messages and "gap <reason> <channel> <from>..<to>" for gaps.
func collect(t testing.TB, r *Reader, n int) []string {
	t.Helper()
	var got []string
	into := make([]*Entry, 7)
	for len(got) < n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		k, err := r.Next(ctx, into[:min(len(into), n-len(got))])
		cancel()
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, e := range into[:k] {
			got = append(got, describe(e))
		}
	}
	return got
}

func describe(e *Entry) string {
	if !e.Gap {
		return fmt.Sprint(e.Seq)
	}
	var g protocol.Gap
	if err := json.Unmarshal(e.Wire.JSON(), &g); err != nil {
		panic(err)
	}
	from := uint64(0)
	if len(g.From) > 0 {
		from = g.From[0].Seq
	}
	return gap(g.Reason, g.Channel, from, g.To.Seq)
}

func gap(reason, channel string, from, to uint64) string {
	return fmt.Sprintf("gap %s %s %d..%d", reason, channel, from, to)
}

// quiet checks that r has nothing more to hand out once everything has settled.
func quiet(t testing.TB, r *Reader) {
	t.Helper()
	into := make([]*Entry, 1)
	for range 3 {
		synctest.Wait()
		if n := r.TryNext(into); n != 0 {
			t.Errorf("got %s, want nothing more", describe(into[0]))
		}
	}
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			from := max(0, i-3)
			t.Errorf("%s: number %d of %d, want %d: got … %q, want … %q", what, i, len(got), len(want), got[from:min(i+3, len(got))], want[from:min(i+3, len(want))])
			return
		}
	}
}

func TestARepeatedKeyReturnsTheFirstIDAndStoresNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		send := func(channel, key, payload string) Receipt {
			r, err := b.Publish(t.Context(), Publication{Channel: channel, Key: key, Payload: []byte(payload)})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first := send("a", "k", "1")
		if again := send("a", "k", "other data"); again.ID != first.ID || !again.Duplicate {
			t.Errorf("a repeat: got %+v, want the id %v as a duplicate", again, first.ID)
		}
		if other := send("b", "k", "1"); other.Duplicate || other.ID.Seq != first.ID.Seq+1 {
			t.Errorf("the same key on another channel: got %+v", other)
		}
		r := newReader(t, b)
		subscribe(t, r, ">", earliest())
		equal(t, "stored", collect(t, r, 2), []string{"1", "2"})
		quiet(t, r)
	})
}

func TestABatchIsStoredWholeOrNotAtAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		setMaxMessage(t, b, 100)
		batch := func(n int, key string) []Publication {
			ps := make([]Publication, n)
			for i := range ps {
				ps[i] = Publication{Channel: fmt.Sprintf("c%d", i%3), Payload: fmt.Append(nil, i)}
				if key != "" {
					ps[i].Key = fmt.Sprintf("%s/%d", key, i)
				}
			}
			return ps
		}
		receipts, err := b.PublishBatch(t.Context(), batch(1000, "k"))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range receipts {
			if r.ID.Seq != uint64(i+1) || r.Duplicate {
				t.Fatalf("message %d: got %+v", i, r)
			}
		}
		again, err := b.PublishBatch(t.Context(), batch(1000, "k"))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range again {
			if r.ID != receipts[i].ID || !r.Duplicate {
				t.Fatalf("message %d of a repeat: got %+v, want %v as a duplicate", i, r, receipts[i].ID)
			}
		}
		bad := batch(10, "")
		bad[9].Payload = make([]byte, 101)
		if _, err := b.PublishBatch(t.Context(), bad); protocol.ErrorFrom(err).Code != protocol.TooLarge {
			t.Errorf("a batch with a message over the limit: got %v", err)
		}
		if _, err := b.PublishBatch(t.Context(), batch(1001, "")); protocol.ErrorFrom(err).Code != protocol.BadRequest {
			t.Errorf("a batch over the limit: got %v", err)
		}
		if seq := publish(t, b, "c0", 1); seq != 1001 {
			t.Errorf("the next message has sequence %d, want 1001: something of the refused was stored", seq)
		}
	})
}

func TestBadPublicationsReachNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		setMaxMessage(t, b, 10)
		for _, p := range []Publication{{Channel: ""}, {Channel: "a.*"}, {Channel: ">"}, {Channel: "a b"}, {Channel: "a\r\n"}, {Channel: "a\x7f"}, {Channel: strings.Repeat("x", 201)},
			{Channel: "a", Type: "x y"}, {Channel: "a", Key: "x\r\ny"}} {
			if _, err := b.Publish(t.Context(), p); protocol.ErrorFrom(err).Code != protocol.BadRequest {
				t.Errorf("%+v: got %v, want bad_request", p, err)
			}
		}
		if _, err := b.Publish(t.Context(), Publication{Channel: "a", Payload: make([]byte, 11)}); protocol.ErrorFrom(err).Code != protocol.TooLarge {
			t.Errorf("11 bytes: got %v, want too_large", err)
		}
		if seq := publish(t, b, "a", 1); seq != 1 {
			t.Errorf("the first good message has sequence %d", seq)
		}
	})
}

func TestASecondProcessOnTheSameDirectoryIsToldWhichIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		open(t, Options{Dir: dir})
		_, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "in use by another fairlead") || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
			t.Errorf("got %v", err)
		}
	})
}

func TestIDsSurviveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		b := open(t, Options{Dir: dir})
		publish(t, b, "a", 1)
		r, err := b.Publish(t.Context(), Publication{Channel: "a", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)

		b = open(t, Options{Dir: dir})
		if b.Head() != r.ID {
			t.Errorf("the head is %v, want %v", b.Head(), r.ID)
		}
		again, err := b.Publish(t.Context(), Publication{Channel: "a", Key: "k"})
		if err != nil || again.ID != r.ID {
			t.Errorf("the same key after the restart: got %+v, %v", again, err)
		}
		reader := newReader(t, b)
		subscribe(t, reader, "a", after(protocol.ID{Epoch: r.ID.Epoch, Seq: 1}))
		equal(t, "after the first", collect(t, reader, 1), []string{"2"})
	})
}

func TestPublishingStopsBeforeTheDiskIsFullAndGoesOnByItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var free atomic.Int64
		free.Store(3 << 20)
		b := open(t, Options{DiskReserve: 1 << 20, free: func(string) (int64, error) { return free.Load(), nil }})
		publish(t, b, "a", 1)
		r := newReader(t, b)
		subscribe(t, r, "a", earliest())

		free.Store(1<<20 - 1)
		time.Sleep(diskInterval)
		synctest.Wait()
		_, err := b.Publish(t.Context(), Publication{Channel: "a"})
		if e := protocol.ErrorFrom(err); e.Code != protocol.Unavailable || e.RetryAfter == 0 {
			t.Errorf("with a full disk: got %v, want unavailable with a time to retry", err)
		}
		if b.Ready() == nil {
			t.Error("with a full disk the broker says that it is ready")
		}
		equal(t, "reads go on", collect(t, r, 1), []string{"1"})

		free.Store(3 << 20)
		time.Sleep(diskInterval)
		synctest.Wait()
		publish(t, b, "a", 2)
		if err := b.Ready(); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// Between two looks at the disk, what is published is counted.
func TestABurstCannotOutrunTheLookAtTheDisk(t *testing.T) {
	free := int64(10 << 20)
	d := &disk{reserve: 1 << 20, free: func() (int64, error) { return free, nil }, log: slog.New(slog.DiscardHandler)}
	d.look()
	for i := range 100 {
		if err := d.admit(1 << 20); err != nil {
			if free < 0 {
				t.Errorf("stopped after %d MiB, when the disk was over-full", i)
			}
			return
		}
		free -= 1 << 20
	}
	t.Error("100 MiB were admitted to a disk with room for 10")
}

// Not in a bubble: nats.go's timers are pooled over all of the process, and one
// that a reconnect made in a bubble may not be used outside.
func TestTheServerIsRestartedInPlaceAndReadersGoOn(t *testing.T) {
	b := open(t, Options{})
	r := newReader(t, b)
	subscribe(t, r, "a", protocol.Start{})
	publish(t, b, "a", 1)
	equal(t, "before", collect(t, r, 1), []string{"1"})
	if err := b.server.restart(); err != nil {
		t.Fatal(err)
	}
	publishWhenPossible(t, b, "k")
	equal(t, "after", collect(t, r, 1), []string{"2"})
}

// publishWhenPossible publishes on a as a client does that gets retryable errors.
func publishWhenPossible(t testing.TB, b *Broker, key string) {
	t.Helper()
	ctx := deadline(t)
	for {
		_, err := b.Publish(ctx, Publication{Channel: "a", Key: key})
		if err == nil {
			return
		}
		if !protocol.ErrorFrom(err).Code.Retryable() {
			t.Fatal(err)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			t.Fatal("publishing is not possible again")
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("no more")
		cancel(cause)
		if b, err := Open(ctx, Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}); err == nil {
			closeBroker(t, b)
			t.Error("got no error")
		}
	})
}

func TestNodesAskEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		if err := b.Relay(func(_ context.Context, request []byte) []byte { return append([]byte("re: "), request...) }); err != nil {
			t.Fatal(err)
		}
		if answer, err := b.Ask(t.Context(), b.Node(), []byte("hello")); err != nil || string(answer) != "re: hello" {
			t.Errorf("got %q, %v", answer, err)
		}
		for _, node := range []string{"nobody", "", "*", "a.b", ">", "a b", strings.Repeat("a", 33)} {
			if _, err := b.Ask(t.Context(), node, nil); protocol.ErrorFrom(err).Code != protocol.Gone {
				t.Errorf("node %q: got %v, want gone", node, err)
			}
		}
	})
}

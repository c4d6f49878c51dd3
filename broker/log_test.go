package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// Nothing coming in time is no sign that there is nothing: a slow server would
// otherwise make a hole.
func TestAReadDoesNotTakeSilenceForTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 10, "a")
		consumer, err := b.consumer(t.Context(), []string{"a"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		f := &fetching{b: b, consumer: consumer, part: part{more: true}}
		if _, err := b.reader.PauseConsumer(t.Context(), b.options.Stream, consumer.CachedInfo().Name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := f.fetch(t.Context(), 5, everything); err == nil {
			t.Errorf("got %d entries, more %v, and no error", len(f.entries), f.more)
		}
	})
}

func TestAReadEndsIfWhatWasToComeIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 10, "a")
		consumer, err := b.consumer(t.Context(), []string{"a"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		f := &fetching{b: b, consumer: consumer, part: part{more: true}}
		stream, err := b.reader.Stream(t.Context(), b.options.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.fetch(t.Context(), 5, everything); err != nil || f.more || len(f.entries) > 0 {
			t.Errorf("got %d entries, more %v, %v", len(f.entries), f.more, err)
		}
	})
}

// While the stored log cannot be read its readers wait, and then go on.
func TestReadersWaitForAStoredLogThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		r := newReader(t, b)
		subscribe(t, r, "a", earliest())
		name := b.options.Stream
		release := occupyTurns(b.catchUps.readers)
		quiet(t, r)
		b.options.Stream = "NOT_THERE"
		release()
		synctest.Wait()
		if !r.CatchingUp() || !b.catchUps.failing.Load() {
			t.Error("the reader does not wait")
		}
		b.options.Stream = name
		equal(t, "then", collect(t, r, 10), sequence(1, 10, 1))
	})
}

func TestFiltersOfSpansAreNoneThatJetStreamRefuses(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"a"}, []string{"a"}},
		{[]string{"a", "b.c"}, []string{"a", "b.c"}},
		{[]string{"a.*", "a.b", "c"}, []string{"a.*", "c"}},
		{[]string{"a.*", "a.>"}, []string{"a.>"}},
		{[]string{"a.*", "*.b"}, []string{">"}},
		{[]string{">", "a"}, []string{">"}},
	} {
		var spans []span
		for _, n := range c.names {
			spans = append(spans, span{name: n, wild: protocol.IsPattern(n)})
		}
		equal(t, fmt.Sprint(c.names), filtersOf(spans), c.want)
	}
	if got := filtersOf(make([]span, maxFilters+1)); len(got) != 1 || got[0] != ">" {
		t.Errorf("too many: got %q", got)
	}
}

// The end of the log was deleted by somebody with access to NATS, who leaves no mark.
func TestANodeStartsOnALogWhoseEndWasDeleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		b := open(t, Options{Dir: dir})
		fill(t, b, 20, "a")
		fill(t, b, 20, "b")
		stream, err := b.reader.Stream(t.Context(), b.options.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("ch.b")); err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)

		b = open(t, Options{Dir: dir, TailBytes: 2000})
		if b.Head() != b.id(40) {
			t.Errorf("the head is %v, want 40", b.Head())
		}
		r := newReader(t, b)
		subscribe(t, r, "a", after(b.id(18)))
		equal(t, "a", collect(t, r, 2), []string{"19", "20"})
		fill(t, b, 1, "b")
		equal(t, "last of a", describeAll(history(t, b, "a", protocol.Range{Last: 1}, 1).Messages), []string{"20"})
		quiet(t, r)
	})
}

// A purge leaves holes all over the log; a start looks at them together.
func TestAStartDoesNotAskAboutEachHole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		b := open(t, Options{Dir: dir})
		fill(t, b, 400, "a", "b")
		if _, err := b.Purge(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)
		b = open(t, Options{Dir: dir})
		if asked := b.reading.Stats().OutMsgs; asked > 10 {
			t.Errorf("%d questions were asked", asked)
		}
		r := newReader(t, b)
		subscribe(t, r, ">", after(b.id(0)))
		want := append(sequence(1, 399, 2), "gap purged b 0..401")
		equal(t, "messages", collect(t, r, len(want)), want)
		if s := b.Stats(); s.CatchUpsFromLog > 0 {
			t.Error("they were not served from the tail")
		}
	})
}

// Of messages that are larger than a step, each is fetched about once, whatever
// the tail has.
func TestCatchingUpOverLargeMessagesFetchesLittleInVain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		const messages, size = 64, 200 << 10
		for range messages {
			publish(t, b, "a", strings.Repeat("x", size))
		}
		fill(t, b, 1, "b")
		synctest.Wait()
		before := b.reading.Stats().InBytes
		r := newReader(t, b)
		subscribe(t, r, "a", earliest())
		equal(t, "messages", collect(t, r, messages), sequence(1, messages, 1))
		if in := b.reading.Stats().InBytes - before; in > 5*messages*size/2 {
			t.Errorf("%d KiB were fetched for %d KiB", in>>10, messages*size>>10)
		}
	})
}

func TestCatchingUpOverSmallMessagesFetchesManyAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, batchMessages, "a")
		synctest.Wait()
		before := b.reading.Stats().OutMsgs
		r := newReader(t, b)
		subscribe(t, r, "a", earliest())
		equal(t, "messages", collect(t, r, batchMessages), sequence(1, batchMessages, 1))
		if out := b.reading.Stats().OutMsgs - before; out > 20 {
			t.Errorf("%d questions were asked", out)
		}
	})
}

// A caller without a deadline does not wait forever behind reads that hang.
func TestAReadWaitsForItsTurnForALimitedTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release, err := b.catchUps.slot(t.Context(), Client{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = b.History(t.Context(), "a", protocol.Range{}, 5)
		if err == nil || protocol.ErrorFrom(err).Code != protocol.Unavailable || time.Since(began) != readTimeout {
			t.Errorf("got %v after %v, want unavailable after %v", err, time.Since(began), readTimeout)
		}
		release()
		equal(t, "then", describeAll(history(t, b, "a", protocol.Range{}, 5).Messages), sequence(1, 5, 1))
	})
}

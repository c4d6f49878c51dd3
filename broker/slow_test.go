package broker

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/fairlead/fairlead/protocol"
)

// held is how many bytes of entries a reader holds on to.
func held(r *Reader) (size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.backlog[:cap(r.backlog)] {
		if e != nil {
			size += e.size()
		}
	}
	for _, n := range r.notices {
		size += n.size()
	}
	return size
}

// One reader takes nothing while fifty times the tail flows by, one takes one
// message of it and then nothing, another takes all.
func TestASlowReaderCostsACursorDelaysNobodyAndGetsEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const tailBytes, messages, size = 256 << 10, 200, 64 << 10
		b := open(t, Options{TailBytes: tailBytes})
		slow, began, quick := newReader(t, b), newReader(t, b), newReader(t, b)
		for _, r := range []*Reader{slow, began, quick} {
			subscribe(t, r, "a", protocol.Start{})
			quiet(t, r)
		}
		payload := bytes.Repeat([]byte("x"), size)
		for i := range messages {
			if _, err := b.Publish(t.Context(), Publication{Channel: "a", Payload: payload, Encoding: "base64"}); err != nil {
				t.Fatal(err)
			}
			equal(t, "quick", collect(t, quick, 1), []string{fmt.Sprint(i + 1)})
			if i == messages/2 {
				equal(t, "began", collect(t, began, 1), []string{"1"})
			}
			if got := b.Stats().TailBytes; got > tailBytes+size+1000 {
				t.Fatalf("the tail has %d bytes", got)
			}
			if h := held(slow); h > 0 {
				t.Fatalf("who takes nothing holds %d bytes", h)
			}
			if h := held(began); h > batchBytes+size+1000 {
				t.Fatalf("who stopped taking holds %d bytes", h)
			}
		}
		if s := b.Stats(); s.CatchUpsFromLog != 1 {
			t.Errorf("%d reads of the stored log, want that of who began", s.CatchUpsFromLog)
		}
		equal(t, "slow", collect(t, slow, messages), sequence(1, messages, 1))
		equal(t, "began", collect(t, began, messages-1), sequence(2, messages, 1))
		quiet(t, slow)
	})
}

// A step from the tail, for a pattern that nobody followed, is bounded like one from the stored log.
func TestAStepFromTheTailIsBoundedInBytesToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		for range 50 {
			if _, err := b.Publish(t.Context(), Publication{Channel: "a", Payload: make([]byte, 100<<10), Encoding: "base64"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		r := newReader(t, b)
		subscribe(t, r, "*", earliest())
		equal(t, "the first", collect(t, r, 1), []string{"1"})
		if h := held(r); h > batchBytes+200<<10 {
			t.Errorf("the reader holds %d bytes", h)
		}
		equal(t, "the others", collect(t, r, 49), sequence(2, 50, 1))
		if s := b.Stats(); s.CatchUpsFromLog != 0 {
			t.Errorf("%d reads of the stored log", s.CatchUpsFromLog)
		}
	})
}

// The stored log is read up to its end, then a message comes, then the reader
// takes what was read: for a channel, whose window has the message, and a pattern.
func TestAMessageBetweenTheStoredReadAndTheJoinGetsThrough(t *testing.T) {
	for _, name := range []string{"a", "*"} {
		bubble(t, func(t *testing.T) {
			b := open(t, Options{TailBytes: 1000})
			fill(t, b, 20, "a")
			synctest.Wait()
			r := newReader(t, b)
			subscribe(t, r, name, earliest())
			into := make([]*Entry, 100)
			if n := r.TryNext(into); n != 0 {
				t.Fatalf("%d entries were in the tail", n)
			}
			synctest.Wait() // the stored log was read
			fill(t, b, 1, "a")
			synctest.Wait()
			equal(t, name, collect(t, r, 21), sequence(1, 21, 1))
			fill(t, b, 1, "a")
			equal(t, name+" live", collect(t, r, 1), []string{"22"})
			quiet(t, r)
		})
	}
}

// What is not in the read, though it is before the tail's end, is taken from
// the tail: JetStream may answer from a replica that lags behind.
func TestAStoredReadIsNotTrustedWithTheTailsNewestHalf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 5000})
		fill(t, b, 40, "a")
		synctest.Wait()
		floor, head := b.tail.floor, b.tail.head
		r := newReader(t, b)
		subscribe(t, r, "b", earliest())
		if n := r.TryNext(make([]*Entry, 1)); n != 0 {
			t.Fatal("there is something on b")
		}
		synctest.Wait()
		r.mu.Lock()
		through := r.through
		r.mu.Unlock()
		if through < floor || through > (floor+head+1)/2 || head-floor < 8 {
			t.Errorf("served up to %d by an empty read; the tail has %d to %d", through, floor, head)
		}
	})
}

func TestWhatWasReadAroundRetentionIsLeftToTheGap(t *testing.T) {
	var entries []*Entry
	for seq := range uint64(10) {
		entries = append(entries, &Entry{Seq: seq + 1, Channel: []string{"a", "b"}[seq%2]})
	}
	for _, c := range []struct {
		known   uint64
		more    bool
		first   uint64
		want    []string
		through uint64
	}{
		{20, false, 1, []string{"3", "5", "7", "9"}, 20},
		{20, true, 1, []string{"3", "5", "7", "9"}, 10},
		{5, false, 1, []string{"3", "5", "7", "9"}, 10},
		{20, true, 6, []string{"7", "9"}, 10},
		{20, false, 30, nil, 29},
	} {
		wish := &catchUp{behind: []span{{name: "a", after: 2}}, known: c.known}
		found, through := wish.sift(part{entries, c.more, c.first})
		equal(t, fmt.Sprintf("%+v", c), describeAll(found), c.want)
		if through != c.through {
			t.Errorf("%+v: through %d", c, through)
		}
	}
}

// 1,000 names of all kinds pick what a look at each of them would.
func TestASievePicksWhatItsSpansMatch(t *testing.T) {
	var spans []span
	for i := range uint64(1000) {
		name := []string{"a.%d", "b.*.%d", "c.%d.>", "*.%d"}[i%4]
		name = fmt.Sprintf(name, i)
		spans = append(spans, span{name: name, wild: protocol.IsPattern(name), after: i})
	}
	s := newSieve(spans)
	for i := range uint64(1000) {
		for _, channel := range []string{"a.%d", "b.x.%d", "c.%d.y", "c.%d", "x.%d", "d"} {
			e := &Entry{Channel: fmt.Sprintf(channel, i), Seq: i + i/4%2} // just served, or the next
			want := false
			for j := range spans {
				want = want || e.Seq > spans[j].after && spans[j].matches(e.Channel)
			}
			if got := s.wants(e); got != want {
				t.Fatalf("%s at %d: got %v, want %v", e.Channel, e.Seq, got, want)
			}
		}
	}
}

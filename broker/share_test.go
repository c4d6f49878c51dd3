package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// takeShapes follows so many shapes of patterns with that literal prefix that
// all others share the window of what is below it.
func takeShapes(t *testing.T, b *Broker, prefix string) {
	t.Helper()
	r := newReader(t, b)
	for i := range ownShapes {
		name := prefix + "*" + strings.Repeat(".z", 2+i/2)
		if i%2 > 0 {
			name += ".>"
		}
		subscribe(t, r, name, protocol.Start{})
	}
}

// overlapping is the nth of the patterns that match deep, without the one that is all of it.
func overlapping(n int) string {
	tokens := strings.Split(deep, ".")
	for i := range tokens[1:] {
		if n>>i&1 == 0 {
			tokens[i+1] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

var deep = "chat" + strings.Repeat(".a", protocol.MaxNameTokens-1)

// However many patterns match a channel, its messages are in few windows, whose
// pointers count, and each reader gets each message once.
func TestAMessageOfManyPatternsIsInFewWindows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1 << 20})
		readers := make([]*Reader, 30)
		for i := range readers {
			readers[i] = newReader(t, b)
			for j := range maxShapes {
				subscribe(t, readers[i], overlapping(maxShapes*i+j), protocol.Start{})
			}
			quiet(t, readers[i])
		}
		for seq := range uint64(1000) {
			e, _ := b.entry(record{seq + 1, time.Now(), "ch." + deep, nil, []byte("1")})
			b.tail.append(e)
		}
		w := b.tail.channels[deep]
		if n, most := len(w.matching), protocol.MaxNameTokens*(ownShapes+1); n > most {
			t.Errorf("a message is in %d windows, want at most %d", n, most)
		}
		pointers := 0
		for _, p := range b.tail.patterns {
			pointers += cap(p.entries) * 8
		}
		messages := 0
		for _, e := range b.tail.all.entries {
			messages += e.size()
		}
		if all := messages + pointers; all > 5<<20/4 || b.tail.bytes > 1<<20 || len(b.tail.all.entries) == 1000 {
			t.Errorf("%d messages take %d bytes and their pointers %d: the tail says that it has %d", len(b.tail.all.entries), messages, pointers, b.tail.bytes)
		}
		first := b.tail.floor + 1
		for i, r := range readers {
			r.follow(span{name: "nobodys", after: first - 1}, nil) // so that what has left the tail is not asked for
			for _, f := range r.follows {
				f.after = first - 1
			}
			equal(t, fmt.Sprint("reader ", i), collect(t, r, int(1001-first)), sequence(first, 1000, 1))
			quiet(t, r)
		}
	})
}

// What it costs to look which patterns of a reader match does not grow beyond that.
func TestPatternsOfAReaderHaveFewShapes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := newReader(t, b)
		for i := range maxShapes {
			subscribe(t, r, overlapping(i), protocol.Start{})
		}
		wantExceeded(t, r, overlapping(maxShapes), ExceededShapes)
		subscribe(t, r, strings.ReplaceAll(overlapping(1), "chat", "talk"), protocol.Start{})
		subscribe(t, r, overlapping(1), earliest())
		subscribe(t, r, deep, protocol.Start{})
		r.Unsubscribe(overlapping(1))
		wantExceeded(t, r, overlapping(maxShapes), ExceededShapes)
		r.Unsubscribe(overlapping(2))
		subscribe(t, r, overlapping(maxShapes), protocol.Start{})
	})
}

// Patterns that differ in their words alone, as one for each user, do not disturb each other.
func TestPatternsOfOneShapeHaveAWindowEach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		subscribe(t, newReader(t, b), "game.*.of.nobody", protocol.Start{})
		takeShapes(t, b, "game.")
		woken := make([]int, 10*ownShapes)
		for i := range woken {
			r := b.NewReader(func() { woken[i]++ })
			t.Cleanup(r.Close)
			subscribe(t, r, fmt.Sprintf("game.*.of.%d", i), protocol.Start{})
			r.TryNext(make([]*Entry, 1))
		}
		publish(t, b, "game.1.of.7", "x")
		synctest.Wait()
		for i, n := range woken {
			if want := map[bool]int{true: 1}[i == 7]; n != want {
				t.Errorf("%d was woken %d times, want %d", i, n, want)
			}
		}
	})
}

// A pattern that came when there were windows of enough shapes shares one with
// the others of its reader, beside those with windows of their own.
func TestPatternsThatShareAWindowAreServedInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		takeShapes(t, b, "c.")
		r := newReader(t, b)
		subscribe(t, r, "a", protocol.Start{})
		subscribe(t, r, "c.*", protocol.Start{})
		subscribe(t, r, "c.*.x", protocol.Start{})
		subscribe(t, r, "c.1", protocol.Start{})
		if w := b.tail.patterns["c.>"]; w == nil || len(w.follows) != 1 || len(r.shares) != 1 {
			t.Fatalf("got %+v, %d shares", w, len(r.shares))
		}
		quiet(t, r)
		fill(t, b, 13, "c.1", "c.1.y", "a", "c.2.x")
		want := []string{"1", "3", "4", "5", "7", "8", "9", "11", "12", "13"}
		equal(t, "all", collect(t, r, len(want)), want)
		quiet(t, r)
		r.Unsubscribe("c.1")
		r.Unsubscribe("c.*")
		fill(t, b, 4, "c.1", "c.1.y", "c.2", "c.2.x")
		equal(t, "without c.*", collect(t, r, 1), []string{"17"})
		quiet(t, r)
		r.Unsubscribe("c.*.x")
		if b.tail.patterns["c.>"] != nil || len(r.shares) > 0 {
			t.Error("the shared window is kept for nobody")
		}
	})
}

// Each of the patterns that share a window is served from where it began.
func TestPatternsThatShareAWindowBeginWhereTheyDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		takeShapes(t, b, "c.")
		r := newReader(t, b)
		subscribe(t, r, "c.*", protocol.Start{})
		fill(t, b, 4, "c.1", "c.1.x")
		synctest.Wait()
		subscribe(t, r, "c.*.x", protocol.Start{})
		fill(t, b, 2, "c.1", "c.1.x")
		equal(t, "both", collect(t, r, 4), []string{"1", "3", "5", "6"})
		quiet(t, r)
	})
}

// A purge voids what a share has found and not handed out.
func TestAPurgeReachesWhatAShareHasFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		takeShapes(t, b, "c.")
		r := newReader(t, b)
		subscribe(t, r, "c.*", protocol.Start{})
		quiet(t, r)
		fill(t, b, 10, "c.1")
		synctest.Wait()
		equal(t, "the first", collect(t, r, 1), []string{"1"})
		if _, err := b.Purge(deadline(t), "c.1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "the rest", collect(t, r, 1), []string{gap(protocol.GapPurged, "c.1", 0, 11)})
		quiet(t, r)
	})
}

// What a reader's shares have found, and hold for it, is bounded in all.
func TestSharesHoldAFewMessagesForASlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := newReader(t, b)
		const prefixes = 8
		for i := range prefixes {
			takeShapes(t, b, fmt.Sprintf("p%d.", i))
			subscribe(t, r, fmt.Sprintf("p%d.*", i), protocol.Start{})
		}
		quiet(t, r)
		for seq := range uint64(prefixes * batchMessages) {
			e, _ := b.entry(record{seq + 1, time.Now(), fmt.Sprintf("ch.p%d.x", seq%prefixes), nil, []byte("1")})
			b.tail.append(e)
		}
		r.TryNext(make([]*Entry, 1))
		found := 0
		for _, s := range r.shares {
			found += len(s.found)
		}
		if found < prefixes || found > batchMessages {
			t.Errorf("%d messages are held, want a few and at most %d", found, batchMessages)
		}
		equal(t, "all", collect(t, r, prefixes*batchMessages-1), sequence(2, prefixes*batchMessages, 1))
	})
}

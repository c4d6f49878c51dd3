package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// longTail is a tail of so many entries that no look at it takes them at once,
// on the channels c.0 to c.99 at random, and what is on them.
func longTail(t *testing.T) (*Broker, logModel) {
	t.Helper()
	b := open(t, Options{})
	m := logModel{}
	random := rand.New(rand.NewPCG(7, 7))
	for seq := range uint64(3 * scanEntries) {
		channel := fmt.Sprint("c.", random.IntN(100))
		e, _ := b.entry(record{seq + 1, time.Now(), "ch." + channel, nil, []byte("1")})
		b.tail.append(e)
		m[channel] = append(m[channel], seq+1)
		m[">"] = append(m[">"], seq+1)
	}
	return b, m
}

func TestLooksAtALongTailFindWhatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, m := longTail(t)
		for _, c := range []struct{ pattern, channel string }{{"*.7", "c.7"}, {"c.7", "c.7"}, {"c.8.>", "c.8.x"}, {">", ">"}} {
			s := &span{name: c.pattern, wild: protocol.IsPattern(c.pattern)}
			all := m[c.channel]
			for _, n := range []int{1, 5, len(all), len(all) + 1, 1000, scanEntries + 1} {
				seq, found, floor, head := b.tail.nthLast(s, n)
				want := uint64(0)
				if len(all) > 0 {
					want = all[max(0, len(all)-n)]
				}
				if seq != want || found != min(n, len(all)) || floor != 0 || head != 3*scanEntries {
					t.Errorf("the last %d of %s: got %d, %d from %d to %d, want %d", n, c.pattern, seq, found, floor, head, want)
				}
			}
			if c.pattern == ">" {
				continue
			}
			r := newReader(t, b)
			subscribe(t, r, c.pattern, after(b.id(5)))
			want := m.after(c.channel, 5)
			equal(t, c.pattern, collect(t, r, len(want)), numbers(want))
			quiet(t, r)
		}
	})
}

func TestTheFollowerIsLetInWhileALongTailIsLookedAt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, _ := longTail(t)
		b.tail.mu.RLock()
		defer b.tail.mu.RUnlock()
		if entries, through := b.tail.next(0); len(entries) != scanEntries || through != scanEntries {
			t.Errorf("one look went through to %d", through)
		}
	})
}

func TestATrimmedTailEndsWhereTheLogBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		e, _ := b.entry(record{1, time.Now(), "ch.a", nil, nil})
		b.tail.append(e)
		b.tail.skip(9)
		for _, c := range []struct{ first, floor uint64 }{{1, 0}, {5, 4}, {3, 4}, {10, 9}, {12, 9}} {
			b.tail.trim(c.first)
			if b.tail.floor != c.floor {
				t.Errorf("the log begins with %d, the tail after %d, want %d", c.first, b.tail.floor, c.floor)
			}
		}
	})
}

// A pattern's window is not kept alive, and does not keep its entries, when nobody follows it.
func TestAPatternThatNobodyFollowsCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, _ := longTail(t)
		r := newReader(t, b)
		subscribe(t, r, "c.*", protocol.Start{})
		e, _ := b.entry(record{3*scanEntries + 1, time.Now(), "ch.c.1", nil, nil})
		b.tail.append(e)
		w := b.tail.patterns["c.*"]
		if len(w.entries) != 1 {
			t.Fatalf("the window has %d entries", len(w.entries))
		}
		r.Unsubscribe("c.*")
		again, _ := b.entry(record{3*scanEntries + 2, time.Now(), "ch.c.1", nil, nil})
		b.tail.append(again)
		if w.entries != nil || len(b.tail.patterns) > 0 {
			t.Error("the window still has its entries")
		}
	})
}

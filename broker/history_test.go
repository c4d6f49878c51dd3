package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// logModel is what a channel holds: sequences, in order.
type logModel map[string][]uint64

// spread publishes n messages on a hot channel, a sparse one, and others.
func spread(t *testing.T, b *Broker, n int, random *rand.Rand) logModel {
	t.Helper()
	m := logModel{}
	for range n {
		channel := "hot"
		switch random.IntN(60) {
		case 0:
			channel = "sparse"
		case 1, 2, 3, 4, 5:
			channel = fmt.Sprint("other.", random.IntN(5))
		}
		m[channel] = append(m[channel], publish(t, b, channel, "payload"))
	}
	synctest.Wait()
	return m
}

func (m logModel) after(channel string, seq uint64) []uint64 {
	for i, s := range m[channel] {
		if s > seq {
			return m[channel][i:]
		}
	}
	return nil
}

func (m logModel) before(channel string, seq uint64) []uint64 {
	all := m[channel]
	return all[:len(all)-len(m.after(channel, max(seq, 1)-1))]
}

func describeAll(entries []*Entry) (s []string) {
	for _, e := range entries {
		s = append(s, describe(e))
	}
	return s
}

func numbers(seqs []uint64) (s []string) {
	for _, seq := range seqs {
		s = append(s, fmt.Sprint(seq))
	}
	return s
}

func history(t *testing.T, b *Broker, channel string, r protocol.Range, limit int) Page {
	t.Helper()
	p, err := b.History(t.Context(), channel, r, limit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func at(b *Broker, seq uint64) *protocol.Cursor { return &protocol.Cursor{b.id(seq)} }

// fromEverywhere runs f with a tail that holds the whole log, one that holds a part of it, and one that holds nothing.
func fromEverywhere(t *testing.T, f func(t *testing.T, o Options)) {
	for _, tail := range []int{32 << 20, 30_000, 1} {
		t.Run(fmt.Sprint("tail of ", tail), func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, Options{TailBytes: tail}) })
		})
	}
}

func TestHistoryPagesAreExactAtBothEnds(t *testing.T) {
	fromEverywhere(t, func(t *testing.T, o Options) {
		random := rand.New(rand.NewPCG(1, 2))
		b := open(t, o)
		m := spread(t, b, 400, random)
		for _, channel := range []string{"hot", "sparse", "other.1", "nothing"} {
			all := m[channel]
			for range 40 {
				limit := 1 + random.IntN(12)
				if random.IntN(8) == 0 {
					limit = max(1, len(all)+random.IntN(3)-1) // all but one, all, and one more
				}
				seq := uint64(random.IntN(402))
				checkPageAfter(t, b, m, channel, seq, limit)
				checkPageBefore(t, b, channel, protocol.Range{Before: at(b, seq)}, limit, m.before(channel, seq))
				checkPageBefore(t, b, channel, protocol.Range{Last: limit}, 1000, all)
			}
		}
	})
}

func checkPageAfter(t *testing.T, b *Broker, m logModel, channel string, seq uint64, limit int) {
	t.Helper()
	seq = min(seq, 400)
	p := history(t, b, channel, protocol.Range{After: at(b, seq)}, limit)
	want := m.after(channel, seq)
	what := fmt.Sprintf("%d of %s after %d", limit, channel, seq)
	equal(t, what, describeAll(p.Messages), numbers(want[:min(limit, len(want))]))
	if len(want) <= limit {
		if p.Next != nil {
			t.Errorf("%s: there are %d, and next is %v", what, len(want), p.Next)
		}
	} else if got, _ := p.Next.In(b.Epoch()); got != want[limit-1] {
		t.Errorf("%s: next is %d, want %d", what, got, want[limit-1])
	}
	if p.Gap != nil {
		t.Errorf("%s: got a gap %+v", what, p.Gap)
	}
}

func checkPageBefore(t *testing.T, b *Broker, channel string, r protocol.Range, limit int, want []uint64) {
	t.Helper()
	p := history(t, b, channel, r, limit)
	if r.Last > 0 {
		limit = min(r.Last, limit)
	}
	what := fmt.Sprintf("%d of %s before %v, last %d", limit, channel, r.Before, r.Last)
	page := want[max(0, len(want)-limit):]
	equal(t, what, describeAll(p.Messages), numbers(page))
	if len(want) <= limit {
		if p.Next != nil {
			t.Errorf("%s: there are %d, and next is %v", what, len(want), p.Next)
		}
	} else if got, _ := p.Next.In(b.Epoch()); got != page[0] {
		t.Errorf("%s: next is %d, want %d", what, got, page[0])
	}
}

func TestWalkingHistorySeesEachMessageOnce(t *testing.T) {
	fromEverywhere(t, func(t *testing.T, o Options) {
		b := open(t, o)
		m := spread(t, b, 300, rand.New(rand.NewPCG(3, 4)))
		for channel, want := range m {
			for _, limit := range []int{1, 7, len(want)} {
				if limit == 1 && channel == "hot" {
					continue
				}
				var forward, backward []string
				for r := (protocol.Range{}); ; {
					p := history(t, b, channel, r, limit)
					forward = append(forward, describeAll(p.Messages)...)
					if p.Next == nil {
						break
					}
					r.After = &p.Next
				}
				for r := (protocol.Range{Last: limit}); ; {
					p := history(t, b, channel, r, limit)
					backward = append(describeAll(p.Messages), backward...)
					if p.Next == nil {
						break
					}
					r = protocol.Range{Before: &p.Next}
				}
				equal(t, fmt.Sprintf("%s forward by %d", channel, limit), forward, numbers(want))
				equal(t, fmt.Sprintf("%s backward by %d", channel, limit), backward, numbers(want))
			}
		}
	})
}

func TestHistoryTellsOfWhatIsNotInTheLog(t *testing.T) {
	for _, tail := range []int{1, 1 << 20} {
		bubble(t, func(t *testing.T) {
			b, first, last := overfull(t, Options{TailBytes: tail})
			time.Sleep(trimInterval + time.Second)
			synctest.Wait()
			odd := first + (first+1)%2
			old := protocol.Cursor{{Epoch: "other", Seq: 7}}
			for _, c := range []struct {
				name string
				r    protocol.Range
				gap  string
				want []string
			}{
				{"no position", protocol.Range{}, "", sequence(odd, odd+2, 2)},
				{"a lost head", protocol.Range{After: at(b, 5)}, gap("retention", "", 5, first-1), sequence(odd, odd+2, 2)},
				{"just before the lost head's end", protocol.Range{After: at(b, first-2)}, gap("retention", "", first-2, first-1), sequence(odd, odd+2, 2)},
				{"the lost head's end", protocol.Range{After: at(b, first-1)}, "", sequence(odd, odd+2, 2)},
				{"another log's", protocol.Range{After: &old}, gap("replaced", "", 7, first-1), sequence(odd, odd+2, 2)},
				{"beyond the end", protocol.Range{After: at(b, last+9)}, gap("ahead", "", last+9, last), nil},
				{"before another log's", protocol.Range{Before: &old}, gap("replaced", "", 7, 0), nil},
				{"before the beginning", protocol.Range{Before: &protocol.Cursor{}}, "", nil},
				{"before what was removed", protocol.Range{Before: at(b, 9)}, "", nil},
				{"before beyond the end", protocol.Range{Before: at(b, last+9)}, "", sequence(last-3, last-1, 2)},
			} {
				p := history(t, b, "a", c.r, 2)
				got := ""
				if p.Gap != nil {
					got = gap(p.Gap.Reason, "", p.Gap.From[0].Seq, p.Gap.To.Seq)
				}
				if got != c.gap {
					t.Errorf("%s: got %q, want %q", c.name, got, c.gap)
				}
				equal(t, c.name, describeAll(p.Messages), c.want)
			}
		})
	}
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		synctest.Wait()
		p := history(t, b, "a", protocol.Range{After: &protocol.Cursor{{Epoch: "other", Seq: 7}}}, 2)
		if p.Gap == nil || p.Gap.Reason != protocol.GapReplaced || p.Gap.To != b.id(0) || len(p.Messages) != 2 {
			t.Errorf("another log's cursor, of a log that lost nothing: %+v", p.Gap)
		}
	})
}

func TestAPurgeIsAGapOfThePageItIsIn(t *testing.T) {
	for _, tail := range []int{1, 1 << 20} {
		bubble(t, func(t *testing.T) {
			b := open(t, Options{TailBytes: tail})
			fill(t, b, 6, "a", "b")
			if _, err := b.Purge(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			fill(t, b, 3, "a")
			synctest.Wait()
			for name, r := range map[string]protocol.Range{"after": {}, "last": {Last: 10}, "before": {Before: at(b, 11)}} {
				p := history(t, b, "a", r, 10)
				equal(t, name, describeAll(p.Messages), []string{"8", "9", "10"})
				if p.Gap == nil || p.Gap.Reason != protocol.GapPurged || p.Gap.To != b.id(7) {
					t.Errorf("%s: got the gap %+v", name, p.Gap)
				}
			}
			if p := history(t, b, "a", protocol.Range{After: at(b, 7)}, 10); p.Gap != nil || len(p.Messages) != 3 {
				t.Errorf("after the purge: %+v", p)
			}
		})
	}
}

func TestSeekingBackFindsTheNthMessageWhereverItIs(t *testing.T) {
	for seed := range uint64(6) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			b := open(t, Options{TailBytes: 1})
			m := logModel{}
			total := 1 + random.IntN(300)
			channel := "a"
			for range total { // in runs: at times dense, at times not there at all
				if random.IntN(30) == 0 {
					channel = []string{"a", "b", "c"}[random.IntN(3)]
				}
				m[channel] = append(m[channel], publish(t, b, channel, 1))
			}
			synctest.Wait()
			for range 30 {
				channel, end, n := []string{"a", "b", "c"}[random.IntN(3)], uint64(1+random.IntN(total+1)), 1+random.IntN(60)
				before := m.before(channel, end)
				got, err := b.seekBack(t.Context(), channel, end, n)
				if err != nil {
					t.Fatal(err)
				}
				// From there on there are n, or all if there are fewer.
				if have := before[min(uint64(len(before)), uint64(len(m.before(channel, got)))):]; len(have) != min(n, len(before)) {
					t.Errorf("%d of %s before %d of %d: from %d on there are %d of %d", n, channel, end, total, got, len(have), len(before))
				}
			}
		})
	}
}

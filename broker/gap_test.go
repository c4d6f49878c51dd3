package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// overfull opens a broker whose log has lost its first messages to its limit
// of bytes: of 300, a has the odd ones and b the even ones.
func overfull(t *testing.T, o Options) (b *Broker, first, last uint64) {
	t.Helper()
	o.MaxBytes = 20 << 10
	b = open(t, o)
	for range 6 {
		fill(t, b, 50, "a", "b")
		synctest.Wait() // or retention overtakes the follower
	}
	first, last = firstAndLast(t, b)
	if first < 10 || last != 300 {
		t.Fatalf("the log has %d to %d", first, last)
	}
	return b, first, last
}

func TestAGapIsToldIfAndOnlyIfMessagesWereRemovedAfterTheCursor(t *testing.T) {
	for _, place := range []struct {
		name string
		tail int
	}{{"from the stored log", 1}, {"with a tail that had them all", 1 << 20}} {
		t.Run(place.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, first, last := overfull(t, Options{TailBytes: place.tail})
				time.Sleep(trimInterval + time.Second)
				synctest.Wait()
				for _, cursor := range []uint64{0, 1, first - 2, first - 1, first, last - 1, last} {
					r := newReader(t, b)
					subscribe(t, r, ">", after(b.id(cursor)))
					var want []string
					if cursor < first-1 {
						want = append(want, gap("retention", ">", cursor, first-1))
					}
					want = append(want, sequence(max(cursor+1, first), last, 1)...)
					equal(t, fmt.Sprint("after ", cursor), collect(t, r, len(want)), want)
					quiet(t, r)
					r.Close()
				}
				r := newReader(t, b)
				subscribe(t, r, ">", earliest())
				equal(t, "from the earliest", collect(t, r, 1), sequence(first, first, 1))
			})
		})
	}
}

func TestRetentionByAgeIsToldLikeRetentionByBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{MaxAge: time.Hour, Dedupe: time.Minute})
		fill(t, b, 10, "a")
		r := newReader(t, b)
		subscribe(t, r, "a", after(b.id(3)))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if first, _ := firstAndLast(t, b); first != 11 {
			t.Fatalf("after two hours the log begins with %d", first)
		}
		if s := b.Stats(); s.TailMessages != 0 {
			t.Errorf("the tail still serves %d messages", s.TailMessages)
		}
		fill(t, b, 1, "a")
		equal(t, "after 3", collect(t, r, 2), []string{gap("retention", "a", 3, 10), "11"})
		late := newReader(t, b)
		subscribe(t, late, "a", after(b.id(10)))
		equal(t, "after 10", collect(t, late, 1), []string{"11"})
	})
}

func TestEachSubscriptionGetsItsOwnGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, first, last := overfull(t, Options{TailBytes: 1})
		r := newReader(t, b)
		subscribe(t, r, "a", after(b.id(3)))
		subscribe(t, r, "b", after(b.id(first-1)))
		subscribe(t, r, "b.>", earliest())
		subscribe(t, r, "nothing.*", after(b.id(7)))
		want := []string{gap("retention", "a", 3, first-1), gap("retention", "nothing.*", 7, first-1)}
		want = append(want, sequence(first, last, 1)...)
		equal(t, "all", collect(t, r, len(want)), want)
		quiet(t, r)
	})
}

// The set of subscriptions changes, or the reader ends and comes back with its
// watermark, when one of two gaps has been handed out.
func TestAGapThatWasNotHandedOutYetIsNotLost(t *testing.T) {
	begin := func(t *testing.T) (b *Broker, r *Reader, first uint64) {
		b, first, _ = overfull(t, Options{TailBytes: 1})
		r = newReader(t, b)
		subscribe(t, r, "a", after(b.id(3)))
		subscribe(t, r, "b", after(b.id(4)))
		equal(t, "the first", collect(t, r, 1), []string{gap("retention", "a", 3, first-1)})
		return b, r, first
	}
	t.Run("subscribe", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, r, first := begin(t)
			subscribe(t, r, "c", protocol.Start{})
			equal(t, "then", collect(t, r, 2), []string{gap("retention", "b", 4, first-1), fmt.Sprint(first)})
		})
	})
	t.Run("unsubscribe", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, r, first := begin(t)
			r.Unsubscribe("b")
			equal(t, "then", collect(t, r, 1), []string{fmt.Sprint(first + (first+1)%2)})
		})
	})
	t.Run("watermark", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b, r, first := begin(t)
			if got := r.Watermark(); got != b.id(4) {
				t.Errorf("the watermark is %v before b's gap was handed out", got)
			}
			collect(t, r, 1)
			if got := r.Watermark(); got != b.id(first-1) {
				t.Errorf("the watermark is %v after both gaps, want %d", got, first-1)
			}
		})
	})
}

// Until the tail is trimmed it may serve what retention has removed: there is nothing missing then.
func TestTheTailServesNothingThatRetentionRemovedLongerThanTheTrimInterval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, first, _ := overfull(t, Options{})
		r := newReader(t, b)
		subscribe(t, r, "a", after(b.id(0)))
		equal(t, "at once", collect(t, r, 1), []string{"1"})
		time.Sleep(trimInterval + time.Second)
		synctest.Wait()
		if e := b.tail.all.entries[0]; e.Seq != first {
			t.Errorf("the tail begins with %d, the log with %d", e.Seq, first)
		}
		want := []string{gap("retention", "a", 1, first-1)}
		equal(t, "later", collect(t, r, 1), want)
	})
}

func TestAnotherLogsCursorGetsAGapAndEverything(t *testing.T) {
	other := protocol.Start{After: &protocol.Cursor{{Epoch: "other", Seq: 7}}}
	for _, tail := range []int{1, 1 << 20} {
		bubble(t, func(t *testing.T) {
			b := open(t, Options{TailBytes: tail})
			fill(t, b, 3, "a")
			synctest.Wait()
			r := newReader(t, b)
			if at := subscribe(t, r, "a", other); at.String() != b.id(0).String() {
				t.Errorf("served after %v", at)
			}
			equal(t, "whole", collect(t, r, 4), []string{"gap replaced a 7..0", "1", "2", "3"})
		})
	}
	bubble(t, func(t *testing.T) {
		b, first, _ := overfull(t, Options{TailBytes: 1})
		r := newReader(t, b)
		subscribe(t, r, ">", other)
		equal(t, "with a lost head", collect(t, r, 3), []string{"gap replaced > 7..0", gap("retention", ">", 0, first-1), fmt.Sprint(first)})
	})
}

func TestACursorBeyondTheLogGetsAGapToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		synctest.Wait()
		r := newReader(t, b)
		if at := subscribe(t, r, "a", after(b.id(10))); at.String() != b.id(3).String() {
			t.Errorf("served after %v", at)
		}
		fill(t, b, 1, "a")
		equal(t, "ahead", collect(t, r, 2), []string{"gap ahead a 10..3", "4"})
		if got := b.Stats().Gaps[protocol.GapAhead]; got != 1 {
			t.Errorf("%d gaps were counted", got)
		}
	})
}

// pauseFollower keeps the follower from seeing what comes, as if this node
// lagged behind, until resume is called.
func pauseFollower(t *testing.T, b *Broker) (resume func()) {
	t.Helper()
	synctest.Wait()
	b.follower.close()
	return func() {
		t.Helper()
		synctest.Wait()
		if err := b.follower.consumeFrom(t.Context(), b.tail.head+1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACursorAheadOfThisNodeIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		fill(t, b, 5, "a")
		r := newReader(t, b)
		if at := subscribe(t, r, "a", after(b.id(6))); at.String() != b.id(6).String() {
			t.Errorf("served after %v", at)
		}
		quiet(t, r)
		resume()
		equal(t, "after 6", collect(t, r, 2), []string{"7", "8"})
		quiet(t, r)
	})
}

func TestReadersOfANodeThatRetentionOvertookAreToldWhatTheyMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{MaxBytes: 20 << 10})
		waiting, behind, pattern, idle, both := newReader(t, b), newReader(t, b), newReader(t, b), newReader(t, b), newReader(t, b)
		subscribe(t, waiting, "a", protocol.Start{})
		subscribe(t, behind, "a", protocol.Start{})
		subscribe(t, pattern, "*", protocol.Start{})
		subscribe(t, idle, "other", protocol.Start{})
		subscribe(t, both, "b", protocol.Start{})
		subscribe(t, both, ">", protocol.Start{})
		quiet(t, idle)
		woken := 0
		elsewhere := b.NewReader(func() { woken++ })
		defer elsewhere.Close()
		subscribe(t, elsewhere, "other.>", protocol.Start{})
		elsewhere.TryNext(make([]*Entry, 1))
		fill(t, b, 10, "a", "b")
		equal(t, "waiting, before", collect(t, waiting, 5), sequence(1, 9, 2))
		equal(t, "behind, before", collect(t, behind, 1), sequence(1, 1, 2))
		equal(t, "pattern, before", collect(t, pattern, 10), sequence(1, 10, 1))
		equal(t, "both, before", collect(t, both, 4), sequence(1, 4, 1))
		for _, r := range []*Reader{waiting, pattern} {
			quiet(t, r)
		}

		resume := pauseFollower(t, b)
		fill(t, b, 300, "a", "b")
		resume()
		synctest.Wait()
		first, last := firstAndLast(t, b)
		odd := first + (first+1)%2

		if woken != 1 {
			t.Errorf("a reader of what has no messages was woken %d times", woken)
		}
		after := func(r *Reader, want ...string) {
			t.Helper()
			equal(t, "after", collect(t, r, len(want)), want)
			quiet(t, r)
			if got := r.Watermark(); got != b.id(last) {
				t.Errorf("the watermark is %v, want %d", got, last)
			}
		}
		after(waiting, append([]string{gap("retention", "a", 10, first-1)}, sequence(odd, last, 2)...)...)
		after(behind, append([]string{gap("retention", "a", 1, first-1)}, sequence(odd, last, 2)...)...)
		after(pattern, append([]string{gap("retention", "*", 10, first-1)}, sequence(first, last, 1)...)...)
		after(idle, gap("retention", "other", 10, first-1))
		after(both, append([]string{gap("retention", "b", 4, first-1), gap("retention", ">", 4, first-1)}, sequence(first, last, 1)...)...)

		fill(t, b, 1, "a")
		equal(t, "and live again", collect(t, waiting, 1), []string{fmt.Sprint(last + 1)})
	})
}

// The follower finds sequences missing that were purged before it came to them.
func TestWhatWasPurgedBeforeANodeFollowedItIsNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 5, "a")
		resume := pauseFollower(t, b)
		fill(t, b, 10, "a", "b")
		if _, err := b.Purge(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		resume()
		synctest.Wait()
		if s := b.Stats(); s.TailMessages != 11 || s.Head != 16 {
			t.Errorf("the tail has %d messages up to %d, want 11 up to 16", s.TailMessages, s.Head)
		}
		r := newReader(t, b)
		subscribe(t, r, ">", after(b.id(4)))
		equal(t, "messages", collect(t, r, 7), []string{"5", "6", "8", "10", "12", "14", gap("purged", "b", 0, 16)})
	})
}

func TestReadersOfAPurgedChannelGetAGapInPlaceOfItsMessages(t *testing.T) {
	for _, tail := range []int{1, 1 << 20} {
		t.Run(fmt.Sprint("tail of ", tail), func(t *testing.T) {
			bubble(t, func(t *testing.T) { purging(t, open(t, Options{TailBytes: tail}), tail == 1) })
		})
	}
}

// purging purges with readers all over. Those that had begun to read the stored
// log have a step of it already, and hand that out first.
func purging(t *testing.T, b *Broker, fromLog bool) {
	live, pattern, behind, other := newReader(t, b), newReader(t, b), newReader(t, b), newReader(t, b)
	subscribe(t, live, "a", protocol.Start{})
	subscribe(t, pattern, ">", protocol.Start{})
	subscribe(t, behind, "a", earliest())
	subscribe(t, other, "b", earliest())
	fill(t, b, 6, "a", "b")
	equal(t, "live", collect(t, live, 3), []string{"1", "3", "5"})
	equal(t, "pattern", collect(t, pattern, 2), []string{"1", "2"})
	equal(t, "behind", collect(t, behind, 1), []string{"1"})

	id, err := b.Purge(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if id != b.id(7) {
		t.Errorf("purged up to %v, want 7", id)
	}
	synctest.Wait()
	publish(t, b, "a", "new")
	synctest.Wait()

	mark := "gap purged a 0..7"
	patternWant, behindWant := []string{"4", "6", mark, "8"}, []string{mark, "8"}
	if fromLog {
		patternWant, behindWant = []string{"3", "4", "5", "6", mark, "8"}, []string{"3", "5", mark, "8"}
	}
	late, after1, latePattern := newReader(t, b), newReader(t, b), newReader(t, b)
	subscribe(t, late, "a", earliest())
	subscribe(t, after1, "a", after(b.id(1)))
	subscribe(t, latePattern, "*", earliest())
	for _, c := range []struct {
		name string
		r    *Reader
		want []string
	}{
		{"live", live, []string{mark, "8"}},
		{"pattern", pattern, patternWant},
		{"behind", behind, behindWant},
		{"other", other, []string{"2", "4", "6"}},
		{"late", late, []string{mark, "8"}},
		{"after 1", after1, []string{mark, "8"}},
		{"late, with a pattern", latePattern, []string{"2", "4", "6", mark, "8"}},
	} {
		equal(t, c.name, collect(t, c.r, len(c.want)), c.want)
		quiet(t, c.r)
	}
	if n := b.Stats().Behind; n > 0 && !fromLog {
		t.Errorf("the tail moved past %d readers, by its count", n)
	}
}

func TestAReaderThatIsClosedEndsNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := newReader(t, b)
		subscribe(t, r, "a", protocol.Start{})
		done := make(chan error)
		go func() {
			_, err := r.Next(context.Background(), make([]*Entry, 1))
			done <- err
		}()
		synctest.Wait()
		r.Close()
		r.Close()
		if err := <-done; protocol.ErrorFrom(err).Code != protocol.Gone {
			t.Errorf("got %v, want gone", err)
		}
		if _, err := r.Subscribe(t.Context(), "b", protocol.Start{}); protocol.ErrorFrom(err).Code != protocol.Gone {
			t.Errorf("subscribe: got %v, want gone", err)
		}
		r.Unsubscribe("a")
	})
}

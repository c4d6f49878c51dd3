package broker

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// storeElsewhere stores a message of another node's, and returns its sequence.
func storeElsewhere(t *testing.T, b *Broker, p Publication) uint64 {
	t.Helper()
	ack, err := b.publisher.PublishMsg(deadline(t), b.msg(&p))
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// An asked page is answered at some time.
type asked struct {
	page Page
	err  error
	took time.Duration // -1 as long as it waits
	done chan struct{}
}

func ask(ctx context.Context, b *Broker, r protocol.Range) *asked {
	a := &asked{took: -1, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		began := time.Now()
		a.page, a.err = b.History(ctx, "a", r, 100)
		a.took = time.Since(began)
	}()
	synctest.Wait()
	return a
}

// wantWaiting checks that the page is not answered yet.
func (a *asked) wantWaiting(t *testing.T, what string) {
	t.Helper()
	if a.took >= 0 {
		t.Errorf("%s: answered with %v, %v before the node had followed so far", what, describeAll(a.page.Messages), a.err)
	}
}

// want checks what the page holds, and that it was there at once when the node had followed so far.
func (a *asked) want(t *testing.T, what string, messages []string) {
	t.Helper()
	<-a.done
	if a.err != nil || a.took > 0 {
		t.Errorf("%s: got %v after %v", what, a.err, a.took)
	}
	equal(t, what, describeAll(a.page.Messages), messages)
}

// waiters is how many wait for the tail to reach something.
func waiters(b *Broker) int {
	b.tail.mu.RLock()
	defer b.tail.mu.RUnlock()
	return len(b.tail.milestones)
}

func TestAPageHoldsWhatItsNodeHasAcknowledged(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, b *Broker) (then []string){
		"a message": func(t *testing.T, b *Broker) []string {
			publish(t, b, "a", "x")
			return []string{"1", "2", "3", "4"}
		},
		"a batch": func(t *testing.T, b *Broker) []string {
			if _, err := b.PublishBatch(t.Context(), []Publication{{Channel: "a"}, {Channel: "a"}}); err != nil {
				t.Fatal(err)
			}
			return []string{"1", "2", "3", "4", "5"}
		},
		"another node's message, by its key": func(t *testing.T, b *Broker) []string {
			p := Publication{Channel: "a", Key: "k"}
			seq := storeElsewhere(t, b, p)
			if r, err := b.Publish(t.Context(), p); err != nil || !r.Duplicate || r.ID != b.id(seq) {
				t.Fatalf("got %+v, %v", r, err)
			}
			return []string{"1", "2", "3", "4"}
		},
		"a purge": func(t *testing.T, b *Broker) []string {
			if _, err := b.Purge(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			return nil
		},
	} {
		for _, tail := range []int{1 << 20, 1} {
			t.Run(fmt.Sprint(name, ", tail of ", tail), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := open(t, Options{TailBytes: tail})
					fill(t, b, 3, "a")
					resume := pauseFollower(t, b)
					then := act(t, b)
					pages := map[string]*asked{
						"all":    ask(t.Context(), b, protocol.Range{}),
						"after":  ask(t.Context(), b, protocol.Range{After: at(b, 1)}),
						"before": ask(t.Context(), b, protocol.Range{Before: at(b, 100)}),
						"last":   ask(t.Context(), b, protocol.Range{Last: 100}),
					}
					for what, p := range pages {
						p.wantWaiting(t, what)
					}
					if n := waiters(b); n != 4 {
						t.Errorf("%d wait, want 4", n)
					}
					resume()
					for what, p := range pages {
						want := then
						if what == "after" && then != nil {
							want = then[1:]
						}
						p.want(t, what, want)
					}
					if n := waiters(b); n != 0 {
						t.Errorf("%d still wait", n)
					}
				})
			})
		}
	}
}

func TestAPageWaitsOnlyForWhatItDependsOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		storeElsewhere(t, b, Publication{Channel: "a"})
		ask(t.Context(), b, protocol.Range{}).want(t, "what another node has acknowledged, unknown here", sequence(1, 3, 1))
		publish(t, b, "a", "x")
		for before, want := range map[uint64][]string{0: nil, 1: nil, 3: sequence(1, 2, 1), 4: sequence(1, 3, 1)} {
			ask(t.Context(), b, protocol.Range{Before: at(b, before)}).want(t, fmt.Sprint("before ", before), want)
		}
		ask(t.Context(), b, protocol.Range{Before: &protocol.Cursor{{Epoch: "other", Seq: 9}}}).want(t, "before one of another log", nil)
		ask(t.Context(), b, protocol.Range{Before: &protocol.Cursor{}}).want(t, "before the earliest", nil)
		ahead := ask(t.Context(), b, protocol.Range{Before: at(b, 5)})
		ahead.wantWaiting(t, "before 5")
		resume()
		ahead.want(t, "before 5", sequence(1, 4, 1))
	})
}

// Whoever names an id was told of it, here or elsewhere.
func TestAPageReachesTheCursorThatItIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		for range 5 {
			storeElsewhere(t, b, Publication{Channel: "a"})
		}
		after6 := ask(t.Context(), b, protocol.Range{After: at(b, 6)})
		before7 := ask(t.Context(), b, protocol.Range{Before: at(b, 7)})
		after6.wantWaiting(t, "after 6")
		before7.wantWaiting(t, "before 7")
		ask(t.Context(), b, protocol.Range{After: at(b, 3)}).want(t, "after 3, which this node has followed", nil)
		resume()
		after6.want(t, "after 6", sequence(7, 8, 1))
		before7.want(t, "before 7", sequence(1, 6, 1))
	})
}

func TestACursorBeyondTheLogIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		synctest.Wait()
		after := ask(t.Context(), b, protocol.Range{After: at(b, 9)})
		after.want(t, "after 9", nil)
		if g := after.page.Gap; g == nil || g.Reason != protocol.GapAhead || g.To != b.id(3) {
			t.Errorf("after 9: got the gap %+v", g)
		}
		ask(t.Context(), b, protocol.Range{Before: at(b, 9)}).want(t, "before 9", sequence(1, 3, 1))
	})
}

func TestAPageThatANodeCannotHoldYetIsUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		publish(t, b, "a", "x")

		ctx, cancel := context.WithCancel(t.Context())
		impatient, patient := ask(ctx, b, protocol.Range{}), ask(t.Context(), b, protocol.Range{})
		cancel()
		<-impatient.done
		<-patient.done
		for who, a := range map[string]*asked{"impatient": impatient, "patient": patient} {
			if e := protocol.ErrorFrom(a.err); e.Code != protocol.Unavailable || e.RetryAfter != time.Second {
				t.Errorf("%s: got %v, retry after %v", who, a.err, e.RetryAfter)
			}
		}
		if impatient.took != 0 || patient.took != reachTimeout {
			t.Errorf("they waited %v and %v", impatient.took, patient.took)
		}
		if n := waiters(b); n != 0 {
			t.Errorf("%d still wait", n)
		}
		resume()
		synctest.Wait()
		ask(t.Context(), b, protocol.Range{}).want(t, "then", sequence(1, 4, 1))
	})
}

// Or no page would be had before the next message.
func TestWhatWasDeletedBeforeANodeFollowedItIsNotWaitedForInVain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		last := publish(t, b, "a", "x")
		stream, err := b.publisher.Stream(deadline(t), b.options.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(deadline(t), last); err != nil {
			t.Fatal(err)
		}
		resume()
		a := ask(t.Context(), b, protocol.Range{})
		<-a.done
		if a.err != nil || a.took != reachTimeout {
			t.Errorf("got %v after %v", a.err, a.took)
		}
		equal(t, "messages", describeAll(a.page.Messages), sequence(1, 3, 1))
	})
}

func TestAPageThatWaitsLearnsThatTheLogWasReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		pauseFollower(t, b)
		publish(t, b, "a", "x")
		a := ask(t.Context(), b, protocol.Range{})
		b.stale.Store(true)
		<-a.done
		if e := protocol.ErrorFrom(a.err); e.Message != errStale().Message {
			t.Errorf("got %v", a.err)
		}
	})
}

// JetStream may answer from a replica that has not stored yet what this node has followed.
func TestAPageHoldsWhatTheStoredLogIsStillToHave(t *testing.T) {
	for _, tail := range []int{1000, 1 << 20} {
		bubble(t, func(t *testing.T) {
			b := open(t, Options{TailBytes: tail})
			fill(t, b, 9, "a")
			synctest.Wait()
			for _, seq := range []uint64{10, 11} {
				e, ok := b.entry(record{seq, time.Now(), "ch.a", nil, nil})
				if !ok {
					t.Fatal("no entry")
				}
				b.tail.append(e)
			}
			if n := b.Stats().TailMessages; n < 3 || n > 9 && tail == 1000 {
				t.Fatalf("the tail holds %d messages", n)
			}
			for _, c := range []struct {
				r     protocol.Range
				limit int
				want  []string
				next  uint64
			}{
				{protocol.Range{}, 20, sequence(1, 11, 1), 0},
				{protocol.Range{}, 11, sequence(1, 11, 1), 0},
				{protocol.Range{}, 10, sequence(1, 10, 1), 10},
				{protocol.Range{}, 9, sequence(1, 9, 1), 9},
				{protocol.Range{}, 4, sequence(1, 4, 1), 4},
				{protocol.Range{After: at(b, 8)}, 20, sequence(9, 11, 1), 0},
				{protocol.Range{After: at(b, 10)}, 20, []string{"11"}, 0},
				{protocol.Range{Last: 20}, 20, sequence(1, 11, 1), 0},
				{protocol.Range{Last: 4}, 20, sequence(8, 11, 1), 8},
				{protocol.Range{Last: 1}, 20, []string{"11"}, 11},
				{protocol.Range{Before: at(b, 11)}, 3, sequence(8, 10, 1), 8},
				{protocol.Range{Before: at(b, 5)}, 3, sequence(2, 4, 1), 2},
			} {
				what := fmt.Sprintf("after %v, before %v, last %d, %d with a tail of %d", c.r.After, c.r.Before, c.r.Last, c.limit, tail)
				p := history(t, b, "a", c.r, c.limit)
				equal(t, what, describeAll(p.Messages), c.want)
				if next, _ := p.Next.In(b.Epoch()); next != c.next {
					t.Errorf("%s: next is %d, want %d", what, next, c.next)
				}
			}
		})
	}
}

func TestASubscriptionFromNowBeginsAfterWhatItsNodeHasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		publish(t, b, "a", "x")
		if got := b.Head(); got != b.id(4) {
			t.Errorf("the head is %v, want 4", got)
		}
		r := newReader(t, b)
		if at := subscribe(t, r, "a", protocol.Start{}); at.String() != b.id(4).String() {
			t.Errorf("served after %v", at)
		}
		publish(t, b, "a", "y")
		resume()
		equal(t, "messages", collect(t, r, 1), []string{"5"})
		quiet(t, r)
	})
}

// A poll's answer ends with the watermark, and the next one begins there.
func TestAReaderThatBeganAheadOfItsNodeIsNotTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		resume := pauseFollower(t, b)
		for range 5 {
			storeElsewhere(t, b, Publication{Channel: "a"})
		}
		one, both, none := newReader(t, b), newReader(t, b), newReader(t, b)
		subscribe(t, one, "a", after(b.id(6)))
		subscribe(t, both, "a", after(b.id(7)))
		subscribe(t, both, "b", after(b.id(5)))
		watermark := func(r *Reader, want uint64) {
			t.Helper()
			quiet(t, r)
			if got := r.Watermark(); got != b.id(want) {
				t.Errorf("the watermark is %v, want %d", got, want)
			}
		}
		watermark(one, 6)
		watermark(both, 5)
		watermark(none, 3)
		subscribe(t, one, "b", after(b.id(2))) // what it has been served stays so
		watermark(one, 3)
		one.Unsubscribe("b")
		watermark(one, 6)
		resume()
		equal(t, "one", collect(t, one, 2), sequence(7, 8, 1))
		equal(t, "both", collect(t, both, 1), []string{"8"})
		for _, r := range []*Reader{one, both, none} {
			watermark(r, 8)
		}
	})
}

func TestARepeatDoesNotTakeBackWhatWasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		p := Publication{Channel: "a", Key: "k"}
		for range 3 {
			if _, err := b.Publish(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			publish(t, b, "a", "x")
		}
		resume := pauseFollower(t, b)
		publish(t, b, "a", "y")
		if _, err := b.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		page := ask(t.Context(), b, protocol.Range{})
		page.wantWaiting(t, "all")
		resume()
		page.want(t, "all", sequence(1, 5, 1))
	})
}

func TestAPageHoldsTheOneMessageThatTheTailDoesNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, 2, "a")
		synctest.Wait()
		equal(t, "last", describeAll(history(t, b, "a", protocol.Range{Last: 5}, 5).Messages), sequence(1, 2, 1))
	})
}

func TestNobodyWaitsForWhatTheTailHasReached(t *testing.T) {
	tail := newTail("e", math.MaxInt)
	tail.skip(5)
	if tail.await(5) != nil {
		t.Error("5 is waited for, at 5")
	}
	six, nine, given := tail.await(6), tail.await(9), tail.await(9)
	tail.giveUp(given)
	came := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	tail.skip(7)
	if !came(six) || came(nine) {
		t.Errorf("at 7, 6 came: %v, 9 came: %v", came(six), came(nine))
	}
	tail.lost(9)
	if !came(nine) || came(given) {
		t.Errorf("at 9, 9 came: %v, what was given up came: %v", came(nine), came(given))
	}
}

func TestAPageOnOneNodeHoldsWhatALaterIDOfAnotherTellsOf(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url})
	for i := range uint64(300) {
		first, second := publish(t, one, "a", i), publish(t, one, "a", i)
		for b, r := range map[*Broker]protocol.Range{one: {Last: 2}, two: {Before: at(two, second+1)}} {
			p, err := b.History(t.Context(), "a", r, 2)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the last two", describeAll(p.Messages), numbers([]uint64{first, second}))
		}
	}
}

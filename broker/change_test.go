package broker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/fairlead/fairlead/protocol"
)

func TestWhoeverWaitsIsWokenWhenItsSubscriptionsChange(t *testing.T) {
	for _, place := range []struct {
		name string
		tail int
	}{{"in the tail", 1 << 20}, {"reading the stored log", 1}} {
		t.Run(place.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t, Options{TailBytes: place.tail})
				fill(t, b, 10, "a", "b")
				synctest.Wait()
				woken := 0
				r := b.NewReader(func() { woken++ })
				defer r.Close()
				subscribe(t, r, "b", protocol.Start{})
				if woken > 0 {
					t.Error("woken before TryNext found nothing")
				}
				into := make([]*Entry, 20)
				r.TryNext(into)
				subscribe(t, r, "a", earliest())
				if woken != 1 {
					t.Errorf("subscribe: woken %d times, want 1", woken)
				}
				r.TryNext(into) // takes it, or asks for it
				woken = 0
				r.Unsubscribe("a")
				if woken != 1 {
					t.Errorf("unsubscribe: woken %d times, want 1", woken)
				}
				r.TryNext(into)
				synctest.Wait()
				woken = 0
				fill(t, b, 1, "b")
				synctest.Wait()
				if n := r.TryNext(into); woken != 1 || n != 1 {
					t.Errorf("a message: woken %d times, got %d", woken, n)
				}
			})
		})
	}
}

func TestNextSeesASubscriptionThatIsMadeWhileItWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 1, "a")
		r := newReader(t, b)
		got := make(chan int)
		go func() {
			n, _ := r.Next(t.Context(), make([]*Entry, 1))
			got <- n
		}()
		synctest.Wait()
		subscribe(t, r, "a", earliest())
		if n := <-got; n != 1 {
			t.Errorf("got %d entries", n)
		}
	})
}

// A client that changes its mind over and over without reading.
func TestNothingGrowsWithAReadersChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.readers)
		r := newReader(t, b)
		for i := range 100 {
			if _, err := r.SubscribeAnnounced(t.Context(), "a", protocol.Start{After: &protocol.Cursor{{Epoch: "other", Seq: uint64(i)}}}); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				r.Unsubscribe("a")
			}
			r.mu.Lock()
			if n := len(r.notices); n > 2 {
				t.Fatalf("%d notices for one subscription", n)
			}
			r.mu.Unlock()
		}
		for range 100 {
			subscribe(t, r, "a", earliest())
			r.TryNext(make([]*Entry, 10))
			if n := b.Stats().Waiting; n > 1 {
				t.Fatalf("%d wishes of one reader are waiting", n)
			}
		}
		release()
		equal(t, "in the end", collect(t, r, 10), sequence(1, 10, 1))
	})
}

func TestReadersComeAndGoWhileMessagesFlow(t *testing.T) {
	b := open(t, Options{TailBytes: 20_000})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				publish(t, b, fmt.Sprint("c.", i%5), "payload")
			}
		}
	})
	var readers sync.WaitGroup
	for i := range 16 {
		readers.Go(func() {
			for j := range 20 {
				r := b.NewReader(nil)
				subscribe(t, r, []string{"c.1", "c.*", ">", "c.2"}[(i+j)%4], []protocol.Start{{}, {Last: 10}, earliest()}[j%3])
				var inner sync.WaitGroup
				inner.Go(func() {
					for range 3 {
						if _, err := r.Next(t.Context(), make([]*Entry, 5)); err != nil {
							return // closed
						}
						r.Watermark()
					}
				})
				subscribe(t, r, "c.3", protocol.Start{})
				r.Unsubscribe("c.3")
				if j%4 == 0 {
					r.Close()
				}
				inner.Wait()
				r.Close()
				r.Close()
			}
		})
	}
	readers.Wait()
	close(stop)
	wg.Wait()
}

func TestABrokerClosesWithReadersAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		live, behind := newReader(t, b), newReader(t, b)
		subscribe(t, live, "a", protocol.Start{})
		subscribe(t, behind, "a", earliest())
		quiet(t, live)
		behind.TryNext(make([]*Entry, 1))
		if err := b.Relay(func(_ context.Context, request []byte) []byte { return request }); err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)
		live.TryNext(make([]*Entry, 1))
		behind.TryNext(make([]*Entry, 1))
		live.Close()
		behind.Close()
	})
}

// However many ask at once, a reader has no more subscriptions than its limit.
func TestAReaderHasNoMoreSubscriptionsThanItsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 2, "c0")
		r := newReader(t, b)
		subscribe(t, r, "c0", protocol.Start{})
		r.SetLimit(10)
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_, err := r.Subscribe(t.Context(), fmt.Sprintf("d%d", i), protocol.Start{})
				if err == nil {
					return
				}
				if e := protocol.ErrorFrom(err); e.Code != protocol.RateLimited || !strings.Contains(e.Message, "at most 10") || !strings.Contains(e.Message, "pattern") {
					t.Errorf("got %v", err)
				}
				refused.Add(1)
			})
		}
		wg.Wait()
		if r.Len() != 10 || refused.Load() != 41 {
			t.Errorf("%d subscriptions, %d refused, want 10 and 41", r.Len(), refused.Load())
		}
		subscribe(t, r, "c0", earliest())
		equal(t, "the one that was moved", collect(t, r, 2), []string{"1", "2"})
		r.Unsubscribe("c0")
		subscribe(t, r, "another", protocol.Start{})
	})
}

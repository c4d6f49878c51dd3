package broker

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// pair is a batch of two messages.
func pair(channel string) []Publication {
	return []Publication{{Channel: channel, Payload: []byte("1")}, {Channel: channel, Payload: []byte("2")}}
}

// However many batches somebody sends, single messages wait for none, and
// others' batches for one.
func TestBatchesTakeTurnsAndSingleMessagesDoNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		release := occupyTurns(b.batches)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []string
		send := func(key string) {
			wg.Go(func() {
				if _, err := b.PublishBatchFor(t.Context(), Client{Key: key, Most: 1}, pair(key)); err != nil {
					t.Error(key, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, key)
			})
			synctest.Wait()
		}
		for range 20 {
			send("flood")
		}
		send("ann")
		send("bob")
		began := time.Now()
		if _, err := b.Publish(t.Context(), Publication{Channel: "single", Payload: []byte("1")}); err != nil || time.Since(began) > 0 {
			t.Errorf("a single message took %v: %v", time.Since(began), err)
		}
		release()
		wg.Wait()
		if last := max(slices.Index(order, "ann"), slices.Index(order, "bob")); len(order) != 22 || last > 3 {
			t.Errorf("stored in the order %v", order)
		}
		isEmpty(t, b.batches, batchTurns)
	})
}

func TestABatchWaitsForItsTurnForALimitedTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		release := occupyTurns(b.batches)
		defer release()
		for _, c := range []struct {
			key  string
			code protocol.Code
		}{{"", protocol.Unavailable}, {"ann", protocol.Unavailable}, {"who occupies", protocol.RateLimited}} {
			began := time.Now()
			_, err := b.PublishBatchFor(t.Context(), Client{Key: c.key}, pair("a"))
			e := protocol.ErrorFrom(err)
			if limit, _ := errors.AsType[Exceeded](err); e.Code != c.code || limit != ExceededBatches || e.RetryAfter != time.Second || time.Since(began) != batchWait {
				t.Errorf("%q: after %s got %v, to retry after %s", c.key, time.Since(began), err, e.RetryAfter)
			}
		}
	})
}

func TestOneClientHasNoEndlessQueueOfBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		release := occupyTurns(b.batches)
		ann := Client{Key: "ann"}
		var waiting []*turn
		for range batchesWaiting {
			waiting = append(waiting, b.batches.ask(ann, func() {}))
		}
		began := time.Now()
		_, err := b.PublishBatchFor(t.Context(), ann, pair("a"))
		if e := protocol.ErrorFrom(err); e.Code != protocol.RateLimited || time.Since(began) > 0 {
			t.Errorf("after %s got %v", time.Since(began), err)
		}
		for _, n := range waiting {
			b.batches.giveUp(n)
		}
		release()
		if _, err := b.PublishBatchFor(t.Context(), ann, pair("a")); err != nil {
			t.Error(err)
		}
	})
}

// What is stored already is stored one by one, in no turn.
func TestARepeatedBatchHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		batch := pair("a")
		for i := range batch {
			batch[i].Key = fmt.Sprint(i)
		}
		for range 3 {
			if receipts, err := b.PublishBatch(t.Context(), batch); err != nil || receipts[1].ID.Seq != 2 {
				t.Fatalf("got %v, %v", receipts, err)
			}
			isEmpty(t, b.batches, batchTurns)
		}
	})
}

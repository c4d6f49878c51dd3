package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// wantExceeded checks that a subscription is refused by that limit.
func wantExceeded(t *testing.T, r *Reader, name string, want Exceeded) {
	t.Helper()
	before := r.Len()
	_, err := r.Subscribe(t.Context(), name, protocol.Start{})
	e := protocol.ErrorFrom(err)
	if limit, _ := errors.AsType[Exceeded](err); limit != want || e.Code != protocol.RateLimited || e.RetryAfter != 5*time.Second || r.Len() != before {
		t.Errorf("%s: got %v, to retry after %s, with %d subscriptions, want %s", name, err, e.RetryAfter, r.Len(), want)
	}
}

func TestAClientHasNoMoreSubscriptionsThanItMay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		ann := Client{Key: "ann", Subscriptions: 5, Patterns: 2}
		first, second, others := newReader(t, b), newReader(t, b), newReader(t, b)
		first.SetClient(ann)
		second.SetClient(ann)
		others.SetClient(Client{Key: "bob", Patterns: 2})

		subscribe(t, first, "a.*", protocol.Start{})
		subscribe(t, second, "b.*", protocol.Start{})
		wantExceeded(t, first, "c.*", ExceededPatterns)
		subscribe(t, first, "b.*", protocol.Start{}) // it follows that already
		subscribe(t, first, "a.*", earliest())       // moved
		subscribe(t, first, "c.1", protocol.Start{})
		subscribe(t, second, "c.1", protocol.Start{})
		wantExceeded(t, second, "c.2", ExceededSubscriptions)
		wantExceeded(t, second, "a.*", ExceededSubscriptions)
		subscribe(t, others, "c.*", protocol.Start{})
		for i := range 10 {
			subscribe(t, others, fmt.Sprint("c.", i), protocol.Start{})
		}

		second.Unsubscribe("c.1")
		second.Unsubscribe("c.1")
		subscribe(t, second, "c.2", protocol.Start{})
		wantExceeded(t, second, "c.3", ExceededSubscriptions)
		second.Close()
		wantExceeded(t, first, "c.*", ExceededPatterns) // b.* is still followed by the first
		first.Unsubscribe("b.*")
		subscribe(t, first, "c.*", protocol.Start{})
		wantExceeded(t, first, "d.*", ExceededPatterns)
	})
}

func TestWhoIsNobodyElseHasNoBoundOfSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		for range 2 {
			r := newReader(t, b)
			r.SetClient(Client{Subscriptions: 1, Patterns: 1})
			subscribe(t, r, "a.*", protocol.Start{})
			subscribe(t, r, "b.*", protocol.Start{})
		}
	})
}

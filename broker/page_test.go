package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fairlead/fairlead/protocol"
)

// However large messages are, a page holds about a mebibyte, or one message,
// and walking the pages sees every message once.
func TestAPageOfHistoryIsBoundedByBytes(t *testing.T) {
	for _, tail := range []int{32 << 20, 1} {
		t.Run(fmt.Sprint("tail of ", tail), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t, Options{TailBytes: tail})
				setMaxMessage(t, b, 4<<20)
				sizes := []int{10, 300 << 10, 900 << 10, 10, 1200 << 10, 10, 10, 600 << 10, 600 << 10, 10}
				var want []string
				for i := range sizes {
					size := sizes[i]
					publish(t, b, "a", strings.Repeat("x", size))
					publish(t, b, "b", "other")
					want = append(want, fmt.Sprint(2*i+1))
				}
				for i := range 20 {
					publish(t, b, "a", "small")
					want = append(want, fmt.Sprint(2*len(sizes)+i+1))
				}
				synctest.Wait()
				page := func(r protocol.Range) (got []string, next protocol.Cursor) {
					p, err := b.History(t.Context(), "a", r, 1000)
					if err != nil {
						t.Fatal(err)
					}
					size := 0
					for _, e := range p.Messages {
						got = append(got, fmt.Sprint(e.Seq))
						size += e.size()
					}
					if size > pageBytes && len(got) > 1 {
						t.Errorf("%+v: a page of %d messages has %d bytes", r, len(got), size)
					}
					return got, p.Next
				}
				var forward, back []string
				got, next := page(protocol.Range{})
				for forward = got; next != nil; forward = append(forward, got...) {
					got, next = page(protocol.Range{After: &next})
				}
				equal(t, "forward", forward, want)
				got, next = page(protocol.Range{Last: 1000})
				for back = got; next != nil; back = append(got, back...) {
					got, next = page(protocol.Range{Before: &next})
				}
				equal(t, "back", back, want)
			})
		})
	}
}

package admission

import (
	"io"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestBodiesAreCountedUntilTheyAreLeft(t *testing.T) {
	w := doorWith(Limits{Bodies: 1000})
	body := func(c Client, n int) *Body { return w.Body(c, strings.NewReader(strings.Repeat("x", n))) }
	first := body(someone, 250)
	if all, err := io.ReadAll(first); err != nil || len(all) != 250 || w.Taken().Bodies != 250 {
		t.Fatalf("got %d bytes, %v, with %d taken", len(all), err, w.Taken().Bodies)
	}
	second := body(someone, 1)
	_, err := io.ReadAll(second)
	w.wantRefused(t, err, protocol.RateLimited, "bodies")
	large := body(Client{Known: true}, 750)
	_, err = io.ReadAll(large)
	want(t, err)
	none := body(another, 1)
	_, err = io.ReadAll(none)
	w.wantRefused(t, err, protocol.Unavailable, "bodies")
	for _, b := range []*Body{first, second, none} {
		b.Leave()
		b.Leave()
	}
	if n := w.Taken().Bodies; n != 750 {
		t.Errorf("%d bytes are taken, want those of the last", n)
	}
	large.Leave()
	w.wantNothingTaken(t)
}

func TestWhatIsHeldOfMessagesIsCounted(t *testing.T) {
	w := doorWith(Limits{Bodies: 400 << 10})
	b := w.Body(someone, nil)
	for held, counted := range map[int]int{SpareBytes: 0, SpareBytes + 1: SpareBytes + 1, 90 << 10: 90 << 10, 20 << 10: 20 << 10, 100 << 10: 100 << 10, 0: 0} {
		want(t, b.Hold(held))
		if n := w.Taken().Bodies; n != counted {
			t.Errorf("%d bytes are held, and %d are counted, want %d", held, n, counted)
		}
	}
	want(t, b.Hold(60<<10))
	w.wantRefused(t, b.Hold(101<<10), protocol.RateLimited, "bodies")
	if n := w.Taken().Bodies; n != 60<<10 {
		t.Errorf("%d bytes are counted after a refusal", n)
	}
	b.Leave()
	w.wantNothingTaken(t)
}

// Those who do not say who they are leave half of the room, from however many addresses they come.
func TestStrangersHaveHalfOfTheBodies(t *testing.T) {
	w := doorWith(Limits{Bodies: 400 << 10})
	stranger := w.Body(local, nil)
	want(t, stranger.Hold(200<<10))
	for _, c := range []Client{local, someone} {
		w.wantRefused(t, w.Body(c, nil).Hold(5<<10), protocol.Unavailable, "bodies")
	}
	known := someone
	known.Known = true
	b := w.Body(known, nil)
	want(t, b.Hold(100<<10))
	w.wantRefused(t, b.Hold(101<<10), protocol.RateLimited, "bodies")
	stranger.Leave()
	b.Leave()
	known.IP = local.IP
	b = w.Body(known, nil)
	want(t, b.Hold(400<<10)) // all of it, if nobody else sends
	b.Leave()
	w.wantNothingTaken(t)
}

func TestBodiesWithoutALimit(t *testing.T) {
	w := doorWith(Limits{Bodies: -1})
	b := w.Body(someone, nil)
	want(t, b.Hold(1<<40))
	b.Leave()
	w.wantNothingTaken(t)
}

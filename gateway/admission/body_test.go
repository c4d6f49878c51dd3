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
	large := body(local, 750)
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

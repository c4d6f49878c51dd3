package fairlead

import (
	"testing"
	"time"
)

func TestWaitsAreDrawnFromAWindowThatDoublesUpToACap(t *testing.T) {
	p := pace{random: func() float64 { return 1 }}
	for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, paceCap, paceCap} {
		if got := p.next(0); got != want {
			t.Errorf("wait %d is %v, want %v", i, got, want)
		}
	}
	p.random = func() float64 { return 0 }
	if got := p.next(3 * time.Second); got != 3*time.Second {
		t.Errorf("the wait is %v, want what the server asked for", got)
	}
}

func TestRetryAfterIsReadInSeconds(t *testing.T) {
	for field, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0} {
		if got := retryAfter(field); got != want {
			t.Errorf("%q is %v, want %v", field, got, want)
		}
	}
}

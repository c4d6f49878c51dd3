package admission

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestABucketIsRightAboutWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, perSecond := range []int{1, 3, 7, 1000, 64 << 20} {
			b := filling[string](perSecond)
			take := func(n int) time.Duration { return b.take("a", n, now()) }
			if wait := take(perSecond * BurstSeconds); wait != 0 {
				t.Errorf("%d a second: a full bucket asks for %v", perSecond, wait)
			}
			for range 20 {
				wait := take(1)
				if wait <= 0 || wait > time.Second/time.Duration(perSecond)+2*time.Millisecond {
					t.Fatalf("%d a second: an empty bucket asks for %v", perSecond, wait)
				}
				time.Sleep(wait - 3*time.Millisecond)
				if wait > 4*time.Millisecond && take(1) == 0 {
					t.Fatalf("%d a second: there is one before the time", perSecond)
				}
				time.Sleep(3 * time.Millisecond)
				if again := take(1); again != 0 {
					t.Fatalf("%d a second: asked for %v, and then for %v", perSecond, wait, again)
				}
				take(perSecond) // whatever is left
				for take(1) == 0 {
				}
			}
		}
	})
}

func TestMoreThanABucketHoldsCostsAWholeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := filling[string](10)
		if wait := b.take("a", 1000, now()); wait != 0 {
			t.Errorf("it will never be had: %v", wait)
		}
		if wait := b.take("a", 1000, now()); wait < 2*time.Second || wait > 2*time.Second+2*time.Millisecond {
			t.Errorf("the next asks for %v, want a whole bucket's time", wait)
		}
		if wait := b.take("b", 20, now()); wait != 0 {
			t.Errorf("another key asks for %v", wait)
		}
	})
}

func TestIdleBucketsAreForgottenAndBusyOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := filling[int](1)
		for i := range 1000 {
			b.take(i, 1, now())
		}
		taken := 0
		for range 100 { // 50 s: longer than a bucket lives, and never idle
			for b.take(-1, 1, now()) == 0 {
				taken++
			}
			time.Sleep(500 * time.Millisecond)
		}
		if most := 50 + BurstSeconds; taken > most {
			t.Errorf("a busy key got %d in 50 s, want %d at most", taken, most)
		}
		if n := len(b.buckets.young) + len(b.buckets.old); n > 2 {
			t.Errorf("%d buckets are kept", n)
		}
		for i := range 3 * bucketKeys {
			b.take(i, 1, now())
		}
		if n := len(b.buckets.young) + len(b.buckets.old); n > 2*bucketKeys {
			t.Errorf("%d buckets are kept", n)
		}
	})
}

// filling are buckets that fill at so many a second.
func filling[K comparable](perSecond int) *buckets[K] {
	b := newBuckets[K]()
	b.setRate(perSecond)
	return b
}

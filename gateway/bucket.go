package gateway

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// burstSeconds is how many seconds' worth a bucket holds: who was quiet may be that much faster for a moment.
const burstSeconds = 2

// A bucket that nobody took from for this long is full again and forgotten. It
// must be more than burstSeconds.
const bucketLife = 10 * time.Second

// bucketKeys bounds the keys of one generation. If more come within
// bucketLife, the older ones begin anew with a full bucket.
const bucketKeys = 1 << 16

// buckets are token buckets, one for each key that was busy lately. There are
// two generations of them: the young one becomes the old one, and the old one
// is dropped, with its memory, as one. Its methods may be called concurrently.
type buckets[K comparable] struct {
	mu         sync.Mutex // guards the following
	perSecond  int        // below zero: no limit
	young, old map[K]*rate.Limiter
	born       time.Time // when young was
}

// newBuckets makes buckets without a limit.
func newBuckets[K comparable]() *buckets[K] { return &buckets[K]{perSecond: -1} }

// setRate makes the buckets fill at so many a second; below zero is no limit. If
// that is something new they are all full.
func (b *buckets[K]) setRate(perSecond int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if perSecond != b.perSecond {
		b.perSecond, b.young, b.old = perSecond, make(map[K]*rate.Limiter), nil
	}
}

// take takes n tokens from the key's bucket, or none, and then returns how long
// it takes until it holds so many if nobody else takes any. What is more than a
// bucket holds costs a whole one.
func (b *buckets[K]) take(key K, n int, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perSecond < 0 {
		return 0
	}
	bucket := b.of(key, now)
	if bucket.AllowN(now, min(n, bucket.Burst())) {
		return 0
	}
	return b.until(bucket, n, now)
}

// wait is what take would return, but takes nothing.
func (b *buckets[K]) wait(key K, n int, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perSecond < 0 {
		return 0
	}
	return b.until(b.of(key, now), n, now)
}

// until is how long it takes until the bucket holds so many, or all that it can. The caller holds mu.
func (b *buckets[K]) until(bucket *rate.Limiter, n int, now time.Time) time.Duration {
	missing := float64(min(n, bucket.Burst())) - bucket.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(missing/float64(b.perSecond)*1000)+1) * time.Millisecond // one more for what rounding takes
}

// of is the key's bucket. The caller holds mu.
func (b *buckets[K]) of(key K, now time.Time) *rate.Limiter {
	if now.Sub(b.born) >= bucketLife || len(b.young) >= bucketKeys {
		b.old, b.young, b.born = b.young, make(map[K]*rate.Limiter), now
	}
	if bucket, ok := b.young[key]; ok {
		return bucket
	}
	bucket, ok := b.old[key]
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(b.perSecond), b.perSecond*burstSeconds)
	}
	b.young[key] = bucket
	return bucket
}

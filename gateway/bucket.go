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
// is dropped, with its memory, as one. A nil buckets is no limit. Its methods
// may be called concurrently.
type buckets[K comparable] struct {
	perSecond float64
	burst     int

	mu         sync.Mutex // guards the following
	young, old map[K]*rate.Limiter
	born       time.Time // when young was
}

// newBuckets makes buckets that fill at so many a second; below zero is no limit.
func newBuckets[K comparable](perSecond int) *buckets[K] {
	if perSecond < 0 {
		return nil
	}
	return &buckets[K]{perSecond: float64(perSecond), burst: perSecond * burstSeconds, young: make(map[K]*rate.Limiter)}
}

// take takes n tokens from the key's bucket, or none, and then returns how long
// it takes until it holds so many if nobody else takes any. What is more than a
// bucket holds costs a whole one.
func (b *buckets[K]) take(key K, n int, now time.Time) (wait time.Duration) {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	bucket := b.of(key, now)
	n = min(n, b.burst)
	if bucket.AllowN(now, n) {
		return 0
	}
	missing := float64(n) - bucket.TokensAt(now)
	return time.Duration(math.Ceil(missing/b.perSecond*1000)+1) * time.Millisecond // one more for what rounding takes
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
		bucket = rate.NewLimiter(rate.Limit(b.perSecond), b.burst)
	}
	b.young[key] = bucket
	return bucket
}

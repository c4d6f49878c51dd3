package admission

import (
	"sync"
	"time"
)

// BurstSeconds is how many seconds' worth a bucket holds: who was quiet may be that much faster for a moment.
const BurstSeconds = 2

// A bucket that nobody took from for this long is full again and forgotten. It
// must be more than BurstSeconds.
const bucketLife = 10 * time.Second

// bucketKeys bounds the keys of one generation. If more come within
// bucketLife, the older ones begin anew with a full bucket.
const bucketKeys = 1 << 16

// buckets are token buckets, one for each key that was busy lately. There are
// two generations of them: the young one becomes the old one, and the old one
// is dropped, with its memory, as one. Its methods may be called concurrently.
//
// A bucket is the time at which it will be full (the generic cell rate
// algorithm, ITU-T I.371): golang.org/x/time/rate, with a lock and floats of its
// own for each, takes twice as long, and this is on the way of every command.
type buckets[K comparable] struct {
	mu         sync.Mutex // guards the following
	perSecond  int        // below zero: no limit
	young, old map[K]*bucket
	born       time.Time // when young was
}

type bucket struct {
	full int64 // when it will be, in nanoseconds of the Unix epoch
}

// newBuckets makes buckets without a limit.
func newBuckets[K comparable]() *buckets[K] { return &buckets[K]{perSecond: -1} }

// setRate makes the buckets fill at so many a second; below zero is no limit. If
// that is something new they are all full.
func (b *buckets[K]) setRate(perSecond int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if perSecond != b.perSecond {
		b.perSecond, b.young, b.old = perSecond, make(map[K]*bucket), nil
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
	k := b.of(key, now)
	full, wait := b.after(k, n, now.UnixNano())
	if wait == 0 {
		k.full = full
	}
	return wait
}

// give gives back n tokens that were taken from the key's bucket just now.
func (b *buckets[K]) give(key K, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.young[key]
	if !ok {
		k, ok = b.old[key]
	}
	if ok && b.perSecond > 0 {
		k.full -= b.cost(n)
	}
}

// wait is what take would return, but takes nothing.
func (b *buckets[K]) wait(key K, n int, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perSecond < 0 {
		return 0
	}
	_, wait := b.after(b.of(key, now), n, now.UnixNano())
	return wait
}

// after is when the bucket would be full after n were taken now, and how long
// that has to wait for, in whole milliseconds. The caller holds mu.
func (b *buckets[K]) after(k *bucket, n int, now int64) (full int64, wait time.Duration) {
	const holds = int64(BurstSeconds * time.Second)
	if b.perSecond == 0 {
		return 0, time.Duration(holds) // never
	}
	full = max(min(k.full, now+holds), now) + b.cost(n) // no later: the clock may have been set back
	if over := time.Duration(full - now - holds); over > 0 {
		wait = (over + time.Millisecond).Truncate(time.Millisecond)
	}
	return full, wait
}

// cost is how long n tokens take to come back; perSecond is not 0.
func (b *buckets[K]) cost(n int) int64 {
	return int64(time.Second) * int64(min(n, b.perSecond*BurstSeconds)) / int64(b.perSecond)
}

// of is the key's bucket. The caller holds mu.
func (b *buckets[K]) of(key K, now time.Time) *bucket {
	if now.Sub(b.born) >= bucketLife || len(b.young) >= bucketKeys {
		b.old, b.young, b.born = b.young, make(map[K]*bucket), now
	}
	if k, ok := b.young[key]; ok {
		return k
	}
	k, ok := b.old[key]
	if !ok {
		k = new(bucket)
	}
	b.young[key] = k
	return k
}

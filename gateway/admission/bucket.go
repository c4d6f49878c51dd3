package admission

import (
	"sync"
	"time"
)

// BurstSeconds is how many seconds' worth a bucket holds: who was quiet may be that much faster for a moment.
const BurstSeconds = 2

// A moment is a time by the clock that nobody sets, in nanoseconds; all are above zero.
type moment int64

// begun is a moment of this process, as a time and as a moment: one so great
// that those of a test with fake time, which is long before, are above zero as well.
var begun = time.Now()

const begunAt moment = 1 << 62

// now is this moment. It costs half of what time.Now does, and is on the way of every command.
func now() moment { return begunAt + moment(time.Since(begun)) }

// A rate is how many tokens a bucket gets in a second; if that is none above zero, it has always enough.
//
// A bucket is the moment at which it will be full (the generic cell rate
// algorithm, ITU-T I.371): golang.org/x/time/rate, with a lock and floats of its
// own for each, takes twice as long.
type rate int

// after is when the bucket that is full at full would be full after n tokens were taken
// now, and how long that has to wait for, in whole milliseconds. What is more
// than a bucket holds costs a whole one.
func (r rate) after(full moment, n int, now moment) (then moment, wait time.Duration) {
	const holds = BurstSeconds * time.Second
	if r <= 0 {
		return full, 0
	}
	then = max(full, now) + r.cost(n)
	if over := time.Duration(then-now) - holds; over > 0 {
		wait = (over + time.Millisecond).Truncate(time.Millisecond)
	}
	return then, wait
}

// cost is how long n tokens take to come back, and nothing where there is no such thing.
func (r rate) cost(n int) moment {
	if r <= 0 {
		return 0
	}
	return moment(time.Second) * moment(min(n, int(r)*BurstSeconds)) / moment(r)
}

// buckets are token buckets, one for each key that was busy lately. Its methods
// may be called concurrently.
type buckets[K comparable] struct {
	mu      sync.Mutex // guards the following
	rate    rate
	buckets generations[K, moment]
}

// newBuckets makes buckets without a limit.
func newBuckets[K comparable]() *buckets[K] { return &buckets[K]{rate: -1} }

// setRate makes the buckets fill at so many a second; below zero is no limit. If
// that is something new they are all full.
func (b *buckets[K]) setRate(perSecond int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if rate(perSecond) != b.rate {
		b.rate, b.buckets = rate(perSecond), generations[K, moment]{}
	}
}

// take takes n tokens from the key's bucket, or none, and then returns how long
// it takes until it holds so many if nobody else takes any.
func (b *buckets[K]) take(key K, n int, now moment) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate < 0 {
		return 0
	}
	full := b.buckets.of(key, now)
	then, wait := b.rate.after(*full, n, now)
	if wait == 0 {
		*full = then
	}
	return wait
}

// wait is what take would return, but takes nothing.
func (b *buckets[K]) wait(key K, n int, now moment) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate >= 0 {
		_, wait = b.rate.after(*b.buckets.of(key, now), n, now)
	}
	return wait
}

// A bucket that nobody took from for this long is full again and forgotten. It
// must be more than BurstSeconds.
const bucketLife = 10 * time.Second

// bucketKeys bounds the keys of one generation. If more come within
// bucketLife, the older ones begin anew with a full bucket.
const bucketKeys = 1 << 16

// generations are the values of the keys that were busy lately. There are two
// of them: the young one becomes the old one, and the old one is dropped, with
// its memory, as one.
type generations[K comparable, V any] struct {
	young, old map[K]*V
	born       moment // when young was
}

// of is the key's value, which is zero if it is new.
func (g *generations[K, V]) of(key K, now moment) *V {
	if v, ok := g.young[key]; ok && now-g.born < moment(bucketLife) {
		return v
	}
	if g.young == nil || now-g.born >= moment(bucketLife) || len(g.young) >= bucketKeys {
		g.old, g.young, g.born = g.young, make(map[K]*V), now
	}
	v, ok := g.old[key]
	if !ok {
		v = new(V)
	}
	g.young[key] = v
	return v
}

// find is the key's value, or nil.
func (g *generations[K, V]) find(key K) *V {
	if v, ok := g.young[key]; ok {
		return v
	}
	return g.old[key]
}

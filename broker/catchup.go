package broker

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/fairlead/fairlead/protocol"
)

// What one step of catching up takes at most. A reader holds it until it is
// handed out, so it bounds what a slow client costs.
const (
	batchMessages = 256
	batchBytes    = 128 << 10
)

// retryInterval is how long a reader waits after the stored log could not be read.
const retryInterval = 500 * time.Millisecond

// join gives every follow its place in its window, if the windows reach back
// far enough. Otherwise it finds a part of what those that are behind have
// missed: from the tail at once, or by asking for it from the stored log, and
// then reports false: there is nothing to do before that is answered. The
// caller holds mu.
func (r *Reader) join() bool {
	t := r.b.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	behind, bound := r.findBehind()
	if len(behind) == 0 {
		r.enterWindows()
		return true
	}
	from := uint64(math.MaxUint64)
	for _, s := range behind {
		from = min(from, s.after)
	}
	if from >= t.floor {
		r.b.stats.fromTail.Add(1)
		found, through := t.scan(from, batchMessages, func(e *Entry) bool { return wanted(behind, e) })
		r.fill(found, through, bound)
		return true
	}
	r.fetching = true
	r.b.catchUps.ask(&catchUp{reader: r, round: r.round, behind: behind, from: from, bound: bound, head: t.head})
	return false
}

// findBehind marks the follows that their windows do not reach back to, and
// those that stand no further. These are served first, up to where the first of
// the others stands, so that everything stays in the log's order. The caller
// holds mu and tail.mu for reading.
func (r *Reader) findBehind() (behind []span, bound uint64) {
	from := uint64(math.MaxUint64)
	for _, f := range r.follows {
		f.behind = f.after < max(r.b.tail.floor, f.window.from)
		if f.behind {
			from = min(from, f.after)
		}
	}
	bound = math.MaxUint64
	for _, f := range r.follows {
		f.behind = f.behind || f.after <= from && from != math.MaxUint64
		if f.behind {
			behind = append(behind, f.span)
		} else {
			bound = min(bound, f.after)
		}
	}
	return behind, bound
}

// enterWindows joins. The caller holds mu and tail.mu for reading.
func (r *Reader) enterWindows() {
	r.joined, r.parked = true, false
	r.pos = r.b.tail.head
	for _, f := range r.follows {
		r.pos = min(r.pos, f.after)
		f.next = f.window.after(f.after)
		f.ready = f.next < f.window.end()
		if f.ready {
			r.ready = append(r.ready, f)
		}
	}
	if len(r.ready) > 0 {
		r.b.stats.fromTail.Add(1)
	}
}

// fill takes what was found for the follows that are behind. The caller holds mu.
func (r *Reader) fill(found []*Entry, through, bound uint64) {
	for len(found) > 0 && found[len(found)-1].Seq > bound {
		found = found[:len(found)-1]
	}
	r.backlog, r.through, r.served = found, min(through, bound), 0
}

// caughtUp writes down that the backlog was handed out. The caller holds mu.
func (r *Reader) caughtUp() {
	for _, f := range r.follows {
		if f.behind {
			f.after = max(f.after, r.through)
		}
	}
	r.through, r.served = 0, 0
	r.backlog = nil
}

// A span is the part of the log that a subscription has still to be served.
type span struct {
	name     string
	wild     bool
	after    uint64 // served up to here, at least
	earliest bool   // it began at the earliest message, whichever that was
}

func (s *span) matches(channel string) bool {
	if s.wild {
		return server.SubjectMatchesFilter(channel, s.name)
	}
	return channel == s.name
}

// wanted tells whether one of spans has still to be served e.
func wanted(spans []span, e *Entry) bool {
	for i := range spans {
		if e.Seq > spans[i].after && spans[i].matches(e.Channel) {
			return true
		}
	}
	return false
}

// catchUp is a reader's wish for a part of the stored log.
type catchUp struct {
	reader *Reader
	round  uint64
	behind []span
	from   uint64
	bound  uint64
	head   uint64 // of the tail when it was asked: the stored log reaches at least as far
}

// catchUps serves wishes in the order in which they came, a few at a time:
// deep reads are slow, and publishes wait behind them.
type catchUps struct {
	b       *Broker
	workers int
	slots   chan struct{} // for history, which waits in its caller's goroutine

	mu    sync.Mutex // guards the following
	queue []*catchUp // at most one of each reader
	more  chan struct{}
}

func newCatchUps(b *Broker, workers int) *catchUps {
	return &catchUps{b: b, workers: workers, slots: make(chan struct{}, workers), more: make(chan struct{}, 1)}
}

func (c *catchUps) ask(wish *catchUp) {
	c.mu.Lock()
	c.queue = append(c.queue, wish)
	c.mu.Unlock()
	c.signal()
}

func (c *catchUps) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *catchUps) next() *catchUp {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil
	}
	wish := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	if len(c.queue) > 0 {
		c.signal()
	}
	return wish
}

// run serves wishes until ctx ends, and waits for those under way.
func (c *catchUps) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range c.workers {
		wg.Go(func() { c.work(ctx) })
	}
	wg.Wait()
}

func (c *catchUps) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.more:
		}
		for wish := c.next(); wish != nil && ctx.Err() == nil; wish = c.next() {
			c.serve(ctx, wish)
		}
	}
}

func (c *catchUps) serve(ctx context.Context, wish *catchUp) {
	r := wish.reader
	r.mu.Lock()
	void := r.round != wish.round
	r.mu.Unlock()
	if void {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c.b.stats.fromLog.Add(1)
	part, err := c.b.read(ctx, filtersOf(wish.behind), wish.from+1, batchMessages, batchBytes)
	if err != nil {
		if ctx.Err() == nil || context.Cause(ctx) == context.DeadlineExceeded {
			c.b.log.Warn("the stored log cannot be read: its reader waits", "error", err)
			time.AfterFunc(retryInterval, func() { c.ask(wish) })
		}
		return
	}
	through := wish.head
	if part.more {
		through = part.entries[len(part.entries)-1].Seq
	} else if n := len(part.entries); n > 0 {
		through = max(through, part.entries[n-1].Seq)
	}
	found, through := c.b.withGaps(wish.behind, part, through)

	r.mu.Lock()
	if r.round == wish.round {
		r.fetching = false
		r.fill(found, through, max(wish.bound, part.first-1))
	}
	r.mu.Unlock()
	r.wake()
}

// withGaps puts a gap for each follow in place of what retention removed
// before the log was read.
func (b *Broker) withGaps(behind []span, part part, through uint64) ([]*Entry, uint64) {
	var found []*Entry
	for _, s := range behind {
		if s.after+1 < part.first && !(s.earliest && s.after == 0) {
			found = append(found, b.gap(s.name, protocol.Cursor{b.id(s.after)}, part.first-1, protocol.GapRetention))
		}
	}
	for _, e := range part.entries {
		// What was read while retention removed around it is not all there was.
		if e.Seq >= part.first && wanted(behind, e) {
			found = append(found, e)
		}
	}
	return found, max(through, part.first-1)
}

// gap is an entry that tells one reader of missing messages, and counts it.
func (b *Broker) gap(channel string, from protocol.Cursor, to uint64, reason string) *Entry {
	b.stats.gap(reason)
	g := protocol.Gap{Channel: channel, From: from, To: b.id(to), Reason: reason}
	return &Entry{Seq: to, Channel: channel, Wire: g.Wire(), Gap: true}
}

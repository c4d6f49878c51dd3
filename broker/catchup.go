package broker

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/gsl"

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
	switch m := r.missing(); {
	case len(m.behind) == 0:
		return true
	case m.inTail: // patterns that overlap take long to match: the follower does not wait for it
		r.b.stats.fromTail.Add(1)
		found, through := newSieve(m.behind).pick(m.entries, m.through)
		r.fill(found, through, m.bound)
		return true
	default:
		r.fetching = true
		r.b.catchUps.ask(&catchUp{reader: r, client: r.client, round: r.round, behind: m.behind, from: m.from, bound: m.bound, known: m.known})
		return false
	}
}

// missed is what follows have missed of the log, that are behind.
type missed struct {
	behind      []span
	from, bound uint64 // after from, and up to bound
	known       uint64 // see catchUp
	inTail      bool   // the tail has it: then the entries are the next of all channels, up to through
	entries     []*Entry
	through     uint64
}

// missing gives every follow its place in its window, or says what those that
// are behind have missed. The caller holds mu.
func (r *Reader) missing() (m missed) {
	t := r.b.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	if m.behind, m.bound = r.findBehind(); len(m.behind) == 0 {
		r.enterWindows()
		return m
	}
	m.from = math.MaxUint64
	for _, s := range m.behind {
		m.from = min(m.from, s.after)
	}
	m.known = t.floor + (t.head-t.floor+1)/2
	if m.inTail = m.from >= t.floor; m.inTail {
		m.entries, m.through = t.next(m.from)
	}
	return m
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
	r.pos = math.MaxUint64
	clear(r.ready) // the follower may have put some there that had no places yet
	r.ready = r.ready[:0]
	for _, s := range r.shares {
		s.after, s.channel = math.MaxUint64, ""
	}
	for _, f := range r.follows {
		r.pos = min(r.pos, f.after)
		if f.share != nil {
			f.share.after = min(f.share.after, f.after)
			continue
		}
		r.stand(f)
	}
	for _, s := range r.shares {
		r.stand(&s.follow)
	}
	if len(r.ready) > 0 {
		r.b.stats.fromTail.Add(1)
	}
}

// stand gives f its place in its window. The caller holds mu and tail.mu for reading.
func (r *Reader) stand(f *follow) {
	f.next = f.window.after(f.after)
	f.ready = f.next < f.window.end()
	if f.ready {
		r.ready = append(r.ready, f)
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

// A sieve picks the entries that some spans have still to be served. With
// 1,000 of them it costs a microsecond an entry, not a hundred.
type sieve struct {
	channels map[string]uint64 // to where they are served
	patterns *gsl.GenericSublist[uint64]
}

func newSieve(spans []span) *sieve {
	s := &sieve{channels: make(map[string]uint64)}
	for _, span := range spans {
		if !span.wild {
			s.channels[span.name] = span.after
			continue
		}
		if s.patterns == nil {
			s.patterns = gsl.NewSublist[uint64]()
		}
		_ = s.patterns.Insert(span.name, span.after) // a valid pattern is a valid subject
	}
	return s
}

func (s *sieve) wants(e *Entry) bool {
	after, wants := s.channels[e.Channel]
	wants = wants && e.Seq > after
	if !wants && s.patterns != nil {
		s.patterns.Match(e.Channel, func(after uint64) { wants = wants || e.Seq > after })
	}
	return wants
}

// pick collects those of entries that pass the sieve, within the limits of one
// step, and tells up to where that is everything: through, if it looked at all.
func (s *sieve) pick(entries []*Entry, through uint64) (found []*Entry, upTo uint64) {
	size := 0
	for i, e := range entries {
		if len(found) == batchMessages || size >= batchBytes {
			return found, entries[i-1].Seq
		}
		if !e.dead.Load() && s.wants(e) {
			found = append(found, e)
			size += e.size()
		}
	}
	return found, through
}

// catchUp is a reader's wish for a part of the stored log.
type catchUp struct {
	reader *Reader
	client Client
	turn   *turn
	round  uint64
	behind []span
	from   uint64
	bound  uint64

	// The stored log is taken to reach at least this far: the middle of the
	// tail. JetStream may answer from a replica that lags behind; and while it
	// answers the tail moves on, and must still reach back to here then.
	known uint64
}

// catchUps reads the stored log a few times at a time: deep reads are slow, and
// publishes wait behind them. Clients take turns.
type catchUps struct {
	b       *Broker
	readers *turns // for readers
	callers *turns // for history and such, which waits in its caller's goroutine; not behind readers

	mu sync.Mutex // guards Reader.asked, and what that is

	failing atomic.Bool // that the stored log cannot be read was said
}

func newCatchUps(b *Broker, places int) *catchUps {
	return &catchUps{b: b, readers: newTurns(places), callers: newTurns(places)}
}

// ask has a wish served when its turn comes.
func (c *catchUps) ask(wish *catchUp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := wish.reader
	switch {
	case r.asked == nil:
		r.asked = wish
		wish.turn = c.readers.ask(wish.client, func() {
			c.b.goes(func() { c.take(r) })
		})
	case r.asked.round < wish.round:
		wish.turn = r.asked.turn // it changed its mind: it keeps its place
		*r.asked = *wish
	}
}

// giveUp is for a reader that asks for nothing more.
func (c *catchUps) giveUp(r *Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.asked != nil {
		c.readers.giveUp(r.asked.turn)
	}
}

// take serves what a reader asks for now, in its turn.
func (c *catchUps) take(r *Reader) {
	c.mu.Lock()
	wish := r.asked
	r.asked = nil
	c.mu.Unlock()
	defer c.readers.done(wish.turn)
	if !wish.void() {
		c.serve(c.b.background, wish)
	}
}

// void tells whether the reader has changed its mind, or was closed.
func (wish *catchUp) void() bool {
	r := wish.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.round != wish.round
}

func (c *catchUps) serve(ctx context.Context, wish *catchUp) {
	r := wish.reader
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c.b.stats.fromLog.Add(1)
	part, err := c.b.read(ctx, filtersOf(wish.behind), wish.from+1, batchMessages, batchBytes)
	if c.b.background.Err() != nil {
		return
	}
	if c.failing.Swap(err != nil) != (err != nil) {
		c.sayFailing(err)
	}
	if err != nil {
		time.AfterFunc(retryInterval, func() {
			if !wish.void() {
				c.ask(wish)
			}
		})
		return
	}
	found, through := wish.sift(part)
	r.mu.Lock()
	if r.round == wish.round {
		r.fetching = false
		r.tellGaps(part.first)
		r.fill(found, through, max(wish.bound, part.first-1))
	}
	r.mu.Unlock()
	r.wake()
}

// sift picks what the wish is for, and tells up to where that is everything.
func (wish *catchUp) sift(p part) (found []*Entry, through uint64) {
	through = max(wish.known, p.first-1)
	if n := len(p.entries); n > 0 {
		last := p.entries[n-1].Seq
		if p.more {
			through = last
		}
		through = max(through, last)
	}
	s := newSieve(wish.behind)
	for _, e := range p.entries {
		// What was read while retention removed around it is not all there was.
		if e.Seq >= p.first && s.wants(e) {
			found = append(found, e)
		}
	}
	return found, through
}

// sayFailing logs that reading the stored log begins to fail, or works again: once, not for each reader.
func (c *catchUps) sayFailing(err error) {
	if err != nil {
		c.b.log.Warn("the stored log cannot be read: the readers that need it wait", "error", err)
	} else {
		c.b.log.Info("the stored log can be read again")
	}
}

// tellGaps owes each follow that is behind a gap in place of what retention
// removed before the log was read, and takes it past that. The caller holds mu.
func (r *Reader) tellGaps(first uint64) {
	for _, f := range r.follows {
		if !f.behind || f.after+1 >= first {
			continue
		}
		if !f.earliest || f.after > 0 {
			gap := r.b.gap(f.name, protocol.Cursor{r.b.id(f.after)}, first-1, protocol.GapRetention)
			r.notices = append(r.notices, notice{gap, f.name, f.after})
		}
		f.after = first - 1
	}
}

// gap is an entry that tells one reader of missing messages, and counts it.
func (b *Broker) gap(channel string, from protocol.Cursor, to uint64, reason string) *Entry {
	b.stats.gap(reason)
	g := protocol.Gap{Channel: channel, From: from, To: b.id(to), Reason: reason}
	return &Entry{Seq: to, Channel: channel, Wire: g.Wire(), Gap: true}
}

package admission

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// PressedStall is how long a client may take nothing while more waits to be
// written to it than may. It comes back with its cursor, and has lost nothing.
const PressedStall = 5 * time.Second

// The parts of the bytes that wait to be written which one client may have.
const (
	pendingShare       = 8
	pendingOriginShare = 2 // an API key's: it may stand for many
)

// pending is what waits to be written.
type pending struct {
	bytes    atomic.Int64
	within   atomic.Int64 // of bytes, those that are within their client's share
	used     atomic.Int64 // shares that are used up
	relieved atomic.Int64 // when relieve was called last, in nanoseconds of the Unix epoch
	relieve  func()
	nobody   Share // of clients that limits by client do not apply to

	mu     sync.Mutex // guards the following
	limit  int        // of all; below zero is none
	shares map[who]*Share
}

func (p *pending) setLimits(l *Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = l.Pending
	for _, s := range p.shares {
		s.setMost(p.most(s.part))
	}
}

// most is what that part of the limit is. The caller holds mu.
func (p *pending) most(part int) int64 {
	if p.limit < 0 {
		return math.MaxInt64
	}
	return int64(max(p.limit/part, 1))
}

// pressed tells whether more waits to be written than may. What clients have
// beyond their shares does not count: it is theirs alone to suffer from.
func (d *Door) pressed() bool {
	most := d.Limits().Pending
	return most >= 0 && d.pending.within.Load() > int64(most)
}

// Stall is how long a client may take nothing of what is written now, while it
// is not known who it is.
func (d *Door) Stall() time.Duration { return d.pending.nobody.Stall() }

// Room reports that nothing may be taken that there would have to be written
// more for, whoever asks, or nil. The caller holds no lock: clients may be cut off.
func (d *Door) Room() error {
	d.relieveSometimes()
	if d.pressed() {
		return d.refuse("pending", protocol.Unavailable, PressedStall, "too much waits to be sent to slow clients: try again later, or another server")
	}
	return nil
}

// relieveSometimes has clients cut off if there is reason to, at most once a second.
func (d *Door) relieveSometimes() {
	p := &d.pending
	if p.used.Load() == 0 && !d.pressed() {
		return
	}
	now, last := time.Now().UnixNano(), p.relieved.Load()
	if ago := now - last; (ago >= int64(time.Second) || ago < 0) && p.relieved.CompareAndSwap(last, now) {
		p.relieve()
	}
}

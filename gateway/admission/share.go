package admission

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A Share is what one client has of the bytes that wait to be written. Its
// methods may be called concurrently, and by who holds no lock: clients may be
// cut off in them.
type Share struct {
	d    *Door
	of   who // a holder, or an address. Zero: all others, who have no bound of their own
	part int // of the limit is theirs; 2 is a half
	uses int // by who has asked for it. Guarded by pending.mu

	mu    sync.Mutex // guards changes of the following
	bytes atomic.Int64
	most  atomic.Int64
}

// Share is the share of c. The caller calls Leave.
func (d *Door) Share(c Client) *Share {
	p, of := &d.pending, c.who()
	if of == (who{}) {
		return &p.nobody
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[of]
	if s == nil {
		s = &Share{d: d, of: of, part: pendingShare}
		if c.APIKey != "" {
			s.part = pendingOriginShare
		}
		s.setMost(p.most(s.part))
		p.shares[of] = s
	}
	s.uses++
	return s
}

// RoomFor is Share.Room for c.
func (d *Door) RoomFor(c Client) error {
	s := d.Share(c)
	defer s.Leave()
	return s.Room()
}

// Leave gives the share back, of which the caller holds nothing any more.
func (s *Share) Leave() {
	p := &s.d.pending
	if s == &p.nobody {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.uses--; s.uses == 0 {
		delete(p.shares, s.of)
	}
}

// Hold counts bytes that wait to be written. The caller lets go of them.
func (s *Share) Hold(bytes int) {
	s.change(int64(bytes), false)
	s.d.relieveSometimes()
}

// LetGo counts that they do not wait any longer.
func (s *Share) LetGo(bytes int) { s.change(-int64(bytes), false) }

// Over tells whether more waits than may: of this client, or of all.
func (s *Share) Over() bool { return s.usedUp() || s.d.pressed() }

// Stall is how long the client may take nothing of what is written now.
func (s *Share) Stall() time.Duration {
	if s.Over() {
		return min(s.d.Limits().WriteStall, PressedStall)
	}
	return s.d.Limits().WriteStall
}

// Room reports that nothing may be taken that there would have to be written
// more for to this client, or nil.
func (s *Share) Room() error { return s.take(0) }

// take is Hold if there is Room: nobody else takes that meanwhile.
func (s *Share) take(bytes int) error {
	if err := s.d.Room(); err != nil {
		return err
	}
	if !s.change(int64(bytes), true) {
		return s.d.refuse("pending", protocol.RateLimited, PressedStall, "%d bytes wait to be sent to you, as many as may: read them first", s.bytes.Load())
	}
	s.d.relieveSometimes()
	return nil
}

// change adds to bytes; or does not, if asked to look, while they are used up.
func (s *Share) change(bytes int64, look bool) bool {
	p := &s.d.pending
	if s == &p.nobody {
		s.bytes.Add(bytes)
		p.bytes.Add(bytes)
		p.within.Add(bytes)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if look && s.usedUp() {
		return false
	}
	p.bytes.Add(bytes)
	s.set(s.bytes.Load()+bytes, s.most.Load())
	return true
}

func (s *Share) setMost(most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(s.bytes.Load(), most)
}

// set sets both, and counts what that changes for all. The caller holds mu.
func (s *Share) set(bytes, most int64) {
	p := &s.d.pending
	within, used := min(s.bytes.Load(), s.most.Load()), s.usedUp()
	s.bytes.Store(bytes)
	s.most.Store(most)
	p.within.Add(min(bytes, most) - within)
	switch now := s.usedUp(); {
	case now && !used:
		p.used.Add(1)
	case used && !now:
		p.used.Add(-1)
	}
}

// usedUp tells whether the client has its share, or more.
func (s *Share) usedUp() bool {
	most := s.most.Load()
	return most > 0 && s.bytes.Load() >= most
}

// gatherBytes is what is held of a share before it is known how much an answer is.
const gatherBytes = 1 << 20

// An Answer is what is held of a share for one answer, from before it is
// gathered until it is written. One goroutine at a time uses it.
type Answer struct {
	share *Share
	bytes int
}

// Answer is one to c that has nothing yet. The caller calls Leave.
func (d *Door) Answer(c Client) *Answer { return &Answer{share: d.Share(c)} }

// Take holds so many bytes more, or fails if there is no Room.
func (a *Answer) Take(bytes int) error {
	if err := a.share.take(bytes); err != nil {
		return err
	}
	a.bytes += bytes
	return nil
}

// Gather takes a mebibyte for what is about to be gathered, or fails if there is
// no Room. Has ends it.
func (a *Answer) Gather() error {
	bytes := gatherBytes
	if limit := a.share.d.Limits().Pending; limit >= 0 {
		bytes = min(bytes, limit/pendingShare)
	}
	return a.Take(bytes)
}

// Has counts that the answer has that many bytes now.
func (a *Answer) Has(bytes int) {
	a.share.Hold(bytes - a.bytes)
	a.bytes = bytes
}

// Bytes is what is held for it.
func (a *Answer) Bytes() int { return a.bytes }

// Over is Share.Over.
func (a *Answer) Over() bool { return a.share.Over() }

// Stall is Share.Stall.
func (a *Answer) Stall() time.Duration { return a.share.Stall() }

// Leave lets go of all that is held for it.
func (a *Answer) Leave() {
	a.share.LetGo(a.bytes)
	a.share.Leave()
	a.bytes = 0
}

package broker

import (
	"math"
	"slices"

	"github.com/nats-io/nats-server/v2/server/gsl"
)

// A share is where a reader stands in a window that is wider than the patterns
// of its that are read there: they have one place, and take what they want.
type share struct {
	follow // the place; it is not one of the reader's follows

	// Guarded by Reader.mu.
	members int
	sieve   *gsl.GenericSublist[*follow] // the members
	found   []uint64                     // the numbers of what they want of the window's entries before next
	channel string                       // the last one that was matched since the reader joined
	wanted  uint64                       // after which the members want that channel's
}

// shareOf is the reader's share of a window, new if need be. The caller holds mu and tail.mu.
func (r *Reader) shareOf(w *window) *share {
	if i := slices.IndexFunc(r.shares, func(s *share) bool { return s.window == w }); i >= 0 {
		return r.shares[i]
	}
	s := &share{follow: follow{reader: r, window: w}, sieve: gsl.NewSublist[*follow]()}
	s.share = s
	w.put(&s.follow)
	r.shares = append(r.shares, s)
	return s
}

// add makes f a member. The caller holds Reader.mu and tail.mu.
func (s *share) add(f *follow) {
	f.share = s
	s.members++
	_ = s.sieve.Insert(f.name, f) // a valid pattern is a valid subject
}

// remove undoes add. The caller holds Reader.mu and tail.mu.
func (s *share) remove(f *follow) {
	f.share = nil
	s.members--
	_ = s.sieve.Remove(f.name, f)
	if s.members > 0 {
		return
	}
	s.reader.shares = slices.DeleteFunc(s.reader.shares, func(other *share) bool { return other == s })
	s.window.take(&s.follow)
}

// place is the number of the first entry that it has still to take or to look at.
func (s *share) place() uint64 {
	if len(s.found) > 0 {
		return s.found[0]
	}
	return s.next
}

// peek is the next entry that is wanted, or nil. The window reaches back to place. The caller holds Reader.mu and tail.mu for reading.
func (s *share) peek() *Entry {
	for len(s.found) > 0 {
		if e := s.window.entries[s.found[0]-s.window.base]; !e.dead.Load() {
			return e
		}
		s.found = s.found[1:]
	}
	s.found = nil
	return nil
}

// sift looks at the next entries of the window. Patterns that overlap take long
// to match: tail.mu, which the caller holds for reading with Reader.mu, is let go
// meanwhile.
func (s *share) sift(t *tail) {
	entries := s.window.entries[s.next-s.window.base:]
	entries = slices.Clone(entries[:min(len(entries), scanEntries)])
	t.mu.RUnlock()
	defer t.mu.RLock()
	s.pick(entries)
}

// pick finds what the members want of the next entries, as many as make one step
// of all the reader's shares. The caller holds Reader.mu.
func (s *share) pick(entries []*Entry) {
	shares := len(s.reader.shares)
	for _, e := range entries {
		if len(s.found)*shares >= batchMessages {
			return
		}
		if e.Channel != s.channel {
			s.channel, s.wanted = e.Channel, math.MaxUint64
			s.sieve.Match(s.channel, func(f *follow) { s.wanted = min(s.wanted, f.after) })
		}
		if e.Seq > s.wanted {
			s.found = append(s.found, s.next)
		}
		s.next++
	}
}

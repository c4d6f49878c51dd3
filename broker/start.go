package broker

import (
	"context"

	"github.com/fairlead/fairlead/protocol"
)

// resolve turns a start into the span of the log that a subscription is
// served, and into a gap if the start's cursor does not fit this log.
func (b *Broker) resolve(ctx context.Context, who Client, name string, start protocol.Start) (span, *Entry, error) {
	if err := start.Check(); err != nil {
		return span{}, nil, err
	}
	if b.stale.Load() {
		return span{}, nil, errStale()
	}
	s := span{name: name, wild: protocol.IsPattern(name)}
	var gap *Entry
	var err error
	switch {
	case start.After != nil && len(*start.After) == 0:
		s.earliest = true
	case start.After != nil:
		s.after, gap, err = b.resolveCursor(ctx, name, *start.After)
	case start.Last > 0:
		s.after, err = b.rewind(ctx, who, &s, start.Last)
	default:
		s.after = b.Head().Seq
	}
	return s, gap, err
}

func (b *Broker) resolveCursor(ctx context.Context, name string, cursor protocol.Cursor) (uint64, *Entry, error) {
	seq, ok := cursor.In(b.Epoch())
	if !ok {
		return 0, b.gap(name, cursor, 0, protocol.GapReplaced), nil
	}
	if seq <= b.Head().Seq {
		return seq, nil, nil
	}
	// This node may lag behind the one that gave the cursor out.
	state, err := b.state(ctx)
	if err != nil {
		return 0, nil, errUnreachable().Because(err)
	}
	if seq <= state.LastSeq {
		return seq, nil, nil
	}
	return state.LastSeq, b.gap(name, cursor, state.LastSeq, protocol.GapAhead), nil
}

// rewind is the position before the last n messages of a span.
func (b *Broker) rewind(ctx context.Context, who Client, s *span, n int) (uint64, error) {
	nth, found, floor, head := b.tail.nthLast(s, n)
	if found == n {
		return nth - 1, nil
	}
	if floor < b.follower.first.Load() { // the log holds no more than the tail
		if found == 0 {
			return head, nil
		}
		return nth - 1, nil
	}
	first, err := b.seek(ctx, who, s.name, head+1, n)
	if err != nil {
		return 0, err
	}
	return first - 1, nil
}

// nthLast is the sequence of the nth entry of s from the tail's end, or of the
// first if there are fewer, and how many there are up to n; and from where to
// where the tail reached.
func (t *tail) nthLast(s *span, n int) (seq uint64, found int, floor, head uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	head = t.head
	for before := head + 1; ; {
		w := &t.all
		if !s.wild {
			w = t.channels[s.name]
		}
		entries := w.before(before)
		stop := max(0, len(entries)-scanEntries)
		for i := len(entries) - 1; i >= stop && found < n; i-- {
			if e := entries[i]; !e.dead.Load() && s.matches(e.Channel) {
				seq = e.Seq
				found++
			}
		}
		if found == n || stop == 0 {
			return seq, found, t.floor, head
		}
		before = entries[stop].Seq
		t.mu.RUnlock() // let the follower in
		t.mu.RLock()
	}
}

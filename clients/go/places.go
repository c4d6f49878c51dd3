package fairlead

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/protocol"
)

// places are a subscription's cursors, one for each channel or pattern, by the
// rules of PROTOCOL.md 2.1. They are what makes each message come once and in
// order, whatever carries it. Not for concurrent use.
type places map[string]*place

type place struct {
	start protocol.Start  // what was asked for, until a welcome says where that is
	after protocol.Cursor // nil: not known yet
	began protocol.Cursor // what after was when this attachment began; nil: not known yet
}

func newPlaces(channels map[string]protocol.Start) places {
	p := make(places, len(channels))
	for pattern, start := range channels {
		p[pattern] = &place{start: start}
		if start.After != nil {
			p[pattern].after = *start.After
		}
	}
	return p
}

// starts are what to ask the server for, to go on where the cursors are: there
// the next attachment begins.
func (p places) starts() map[string]protocol.Start {
	starts := make(map[string]protocol.Start, len(p))
	for pattern, place := range p {
		starts[pattern] = place.start
		place.began = place.after
		if place.after != nil {
			after := place.after
			starts[pattern] = protocol.Start{After: &after}
		}
	}
	return starts
}

// welcome sets the cursors that are not known yet.
func (p places) welcome(channels map[string]protocol.After) {
	for pattern, served := range channels {
		if place := p[pattern]; place != nil && place.after == nil {
			place.after, place.began = served.After, served.After
		}
	}
}

// message moves the cursors past the message, and tells whether it is to be
// delivered: whether it is after the cursor of a subscription that it matches.
func (p places) message(m *Message) (deliver bool) { return p.pass(m.Channel, m.ID) }

// pass moves forward to id the cursors of the subscriptions that match the
// channel, and tells whether it moved any.
func (p places) pass(channel string, id protocol.ID) (moved bool) {
	for pattern, place := range p {
		if matches(pattern, channel) && isAfter(id, place.after) {
			place.after = protocol.Cursor{id}
			moved = true
		}
	}
	return moved
}

// beat moves the cursors up to id: everything before it has been sent.
func (p places) beat(id protocol.ID) {
	for _, place := range p {
		if place.after != nil && isAfter(id, place.after) {
			place.after = protocol.Cursor{id}
		}
	}
}

// gap moves the cursors over the gap, and tells whether it is to be told: whether it moved any.
func (p places) gap(g *protocol.Gap) (tell bool) {
	if g.Reason == protocol.GapPurged { // of a channel, as a message is: a place in the log
		return p.pass(g.Channel, g.To)
	}
	place := p[g.Channel]
	if place == nil {
		return false
	}
	// Another attachment may have told of it before, and the cursor be where it is on account of that.
	begins := place.began != nil && slices.Equal(g.From, place.began)
	if !begins && place.after != nil && !isAfter(g.To, place.after) {
		return false
	}
	place.after = protocol.Cursor{g.To}
	return true
}

// isAfter tells whether id is after the cursor. Ids of other epochs are not:
// when the log has been replaced, a gap says so first.
func isAfter(id protocol.ID, cursor protocol.Cursor) bool {
	if len(cursor) == 0 {
		return cursor != nil // 0, or not known
	}
	seq, ok := cursor.In(id.Epoch)
	return ok && id.Seq > seq
}

// matches tells whether the channel is one of the pattern's (PROTOCOL.md 1.1).
func matches(pattern, channel string) bool {
	for {
		token, restPattern, morePattern := strings.Cut(pattern, ".")
		name, restChannel, moreChannel := strings.Cut(channel, ".")
		switch {
		case token == ">":
			return true
		case token != "*" && token != name, morePattern != moreChannel:
			return false
		case !morePattern:
			return true
		}
		pattern, channel = restPattern, restChannel
	}
}

package fairlead

import (
	"strings"

	"github.com/fairlead/fairlead/protocol"
)

// places are a subscription's cursors, one for each channel or pattern, by the
// rules of PROTOCOL.md 2.1. They are what makes each message come once and in
// order, whatever carries it, and however many attachments do at a time. Not
// for concurrent use.
type places map[string]*place

type place struct {
	start protocol.Start  // what was asked for, until a welcome says where that is
	after protocol.Cursor // nil: not known yet
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

// areKnown tells whether each cursor is.
func (p places) areKnown() bool {
	for _, place := range p {
		if place.after == nil {
			return false
		}
	}
	return true
}

// welcome sets the cursors that are not known yet.
func (p places) welcome(v view, channels map[string]protocol.After) {
	for pattern, w := range v {
		_, named := channels[pattern]
		w.shut = !named
	}
	for pattern, served := range channels {
		place, w := p[pattern], v[pattern]
		if place == nil || w == nil {
			continue
		}
		if w.from == nil {
			w.began, w.from = served.After, served.After
		}
		if place.after == nil {
			place.after = served.After
		}
	}
}

// message moves the cursors past the message, and tells whether it is to be
// delivered: whether it is after the cursor of a subscription that it matches.
// An errStale says that v has come to where the cursors cannot follow it.
func (p places) message(v view, m *Message) (deliver bool, err error) {
	return p.pass(v, m.Channel, m.ID)
}

// pass moves forward to id the cursors of the subscriptions that match the
// channel, and tells whether it moved any.
func (p places) pass(v view, channel string, id protocol.ID) (moved bool, err error) {
	for pattern, place := range p {
		switch {
		case !matches(pattern, channel):
		case !v.shows(pattern, place):
			v.skip(pattern, id)
			err = errStale
		case isAfter(id, place.after):
			place.after = protocol.Cursor{id}
			moved = true
		case isElsewhere(id, place.after): // no gap told of it
			err = errStale
		}
	}
	return moved, err
}

// beat moves the cursors up to id: everything before it has been sent.
func (p places) beat(v view, id protocol.ID) {
	for pattern, place := range p {
		if v.shows(pattern, place) && isAfter(id, place.after) {
			place.after = protocol.Cursor{id}
		}
	}
}

// gap moves the cursors over the gap, and tells whether it is to be told: whether it moved any.
func (p places) gap(v view, g *protocol.Gap) (tell bool, err error) {
	if g.Reason == protocol.GapPurged { // of a channel, as a message is: a place in the log
		return p.pass(v, g.Channel, g.To)
	}
	place, w := p[g.Channel], v[g.Channel]
	if place == nil || w == nil {
		return false, nil
	}
	// Another attachment may have told of it before, and the cursor be where it is on account of that:
	// then the cursor is not within the view any more.
	back := w.begins(g) && v.shows(g.Channel, place)
	if w.begins(g) {
		w.from = protocol.Cursor{g.To}
	}
	if !back && place.after != nil && !isAfter(g.To, place.after) {
		return false, nil
	}
	if !back && !covers(place.after, g.From) && !v.shows(g.Channel, place) {
		return false, errStale // messages between the cursor and the gap would be lost
	}
	place.after = protocol.Cursor{g.To}
	return true, nil
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

// isElsewhere tells whether id is of a log that the cursor has no place in.
func isElsewhere(id protocol.ID, cursor protocol.Cursor) bool {
	_, ok := cursor.In(id.Epoch)
	return len(cursor) > 0 && !ok
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

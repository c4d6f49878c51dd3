package fairlead

import (
	"slices"

	"github.com/fairlead/fairlead/protocol"
)

// A view is what one attachment shows of the log: for each channel or pattern
// the place from which it has sent, or will send, everything. Two attachments
// may have different ones. What a view shows counts for a cursor only if the
// cursor is within it: or else what lies between them would be lost.
type view map[string]*window

type window struct {
	began protocol.Cursor // when the attachment began; nil: not known yet
	from  protocol.Cursor // everything after it is shown; a gap moves it
	shut  bool            // the welcome did not name it: the token does not allow it, most likely
}

// view returns the view of an attachment that begins now, and what to ask the server for.
func (p places) view() (view, map[string]protocol.Start) {
	v := make(view, len(p))
	starts := make(map[string]protocol.Start, len(p))
	for pattern, place := range p {
		v[pattern] = &window{began: place.after, from: place.after}
		starts[pattern] = place.start
		if place.after != nil {
			after := place.after
			starts[pattern] = protocol.Start{After: &after}
		}
	}
	return v, starts
}

// shows tells whether v shows everything after the cursor of the place.
func (v view) shows(pattern string, place *place) bool {
	w := v[pattern]
	return w != nil && w.from != nil && place.after != nil && covers(place.after, w.from)
}

// isWhole tells whether v shows everything after each cursor.
func (v view) isWhole(p places) bool {
	for pattern, place := range p {
		if !v.shows(pattern, place) {
			return false
		}
	}
	return true
}

// mayBeWhole is isWhole for a view that has only been welcomed: it is still to be told what the token does not allow.
func (v view) mayBeWhole(p places) bool {
	for pattern, place := range p {
		if w := v[pattern]; w != nil && w.shut {
			continue
		}
		if !v.shows(pattern, place) {
			return false
		}
	}
	return true
}

// skip notes that id was shown and not used: from now on only what comes after it is.
func (v view) skip(pattern string, id protocol.ID) {
	if w := v[pattern]; w != nil && w.from != nil && !covers(w.from, protocol.Cursor{id}) {
		w.from = protocol.Cursor{id}
	}
}

// covers tells whether the cursor is at from or after it.
func covers(cursor, from protocol.Cursor) bool {
	for _, id := range from {
		if seq, ok := cursor.In(id.Epoch); !ok || seq < id.Seq {
			return false
		}
	}
	return true
}

// begins tells whether the gap is after the cursor with which the attachment began.
func (w *window) begins(g *protocol.Gap) bool {
	return w.began != nil && slices.Equal(g.From, w.began)
}

package broker

import (
	"context"
	"slices"

	"github.com/fairlead/fairlead/protocol"
)

// follow is one subscription of a reader.
type follow struct {
	span
	reader *Reader
	holder string // the key of the client that it is counted to; constant
	share  *share // what it is read with; nil if its window is for it alone
	behind bool   // the backlog, or what is fetched, is for it

	// Guarded by tail.mu, as Reader.ready is.
	window *window
	slot   int    // its place in window.follows
	next   uint64 // the number of the next entry in window
	ready  bool   // it is in reader.ready
}

// notice is an entry for this reader alone.
type notice struct {
	*Entry
	name string // of the subscription
	from uint64 // everything after this is not served before the notice is handed out
}

// Subscribe adds a subscription to a channel or pattern, or moves the one that
// there is, and returns the position from which it is served: everything after
// it follows. It fails with an error for the client. ctx bounds a look at the
// stored log, which a rewind beyond the tail needs. An owner that waits for its
// notify gets it; any other should call TryNext afterwards.
func (r *Reader) Subscribe(ctx context.Context, name string, start protocol.Start) (protocol.Cursor, error) {
	return r.subscribe(ctx, name, start, false)
}

// SubscribeAnnounced is Subscribe for a reader that is being read already: it
// hands out a subscribed frame (PROTOCOL.md 2.1) where the subscription begins
// to be served.
func (r *Reader) SubscribeAnnounced(ctx context.Context, name string, start protocol.Start) (protocol.Cursor, error) {
	return r.subscribe(ctx, name, start, true)
}

func (r *Reader) subscribe(ctx context.Context, name string, start protocol.Start, announce bool) (protocol.Cursor, error) {
	if err := protocol.CheckPattern(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	who := r.client
	r.mu.Unlock()
	span, gap, err := r.b.resolve(ctx, who, name, start)
	if err != nil {
		return nil, err
	}
	at := protocol.Cursor{r.b.id(span.after)}
	if span.earliest {
		at = protocol.Cursor{}
	}
	var notices []notice
	if announce {
		announced := &Entry{Seq: span.after, Channel: name, Wire: protocol.Subscribed(name, at)}
		notices = append(notices, notice{announced, name, span.after})
	}
	if gap != nil {
		notices = append(notices, notice{gap, name, span.after})
	}
	if err := r.follow(span, notices); err != nil {
		return nil, err
	}
	return at, nil
}

// SetLimit makes Subscribe refuse a name that would be one more than n
// subscriptions; to move one is always allowed, and those that there are stay.
// 0, as at first, is no limit.
func (r *Reader) SetLimit(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = n
}

// hold counts the subscription to the client, and returns the key that it is
// counted to, if it is not one too many. To one that there is already, the new one
// takes its place. The caller holds mu.
func (r *Reader) hold(s span) (key string, err error) {
	if i := slices.IndexFunc(r.follows, func(f *follow) bool { return f.name == s.name }); i >= 0 {
		return r.follows[i].holder, nil
	}
	if err := r.full(); err != nil {
		return "", err
	}
	if s.wild && r.tooManyShapes(s.name) {
		return "", exceeded(ExceededShapes, holdWait, "your patterns have wildcards in %d different combinations of places, as many as they may: follow fewer that are wider", maxShapes)
	}
	return r.client.Key, r.b.holdings.enter(r.client, s)
}

// tooManyShapes tells whether the reader's patterns, with one more, had too many. The caller holds mu.
func (r *Reader) tooManyShapes(pattern string) bool {
	_, s := shapeOf(pattern)
	return r.shapes[s] == 0 && len(r.shapes) >= maxShapes
}

// countShape counts n more patterns of f's shape. The caller holds mu.
func (r *Reader) countShape(f *follow, n int) {
	if !f.wild {
		return
	}
	if r.shapes == nil {
		r.shapes = make(map[shape]int)
	}
	_, s := shapeOf(f.name)
	if r.shapes[s] += n; r.shapes[s] == 0 {
		delete(r.shapes, s)
	}
}

// full reports that one more subscription would be one too many. The caller holds mu.
func (r *Reader) full() error {
	if r.limit <= 0 || len(r.follows) < r.limit {
		return nil
	}
	return exceeded(ExceededChannels, 0, "at most %d subscriptions are allowed: subscribe to a pattern in place of many channels", r.limit)
}

// follow adds a subscription in place of one with the same name.
func (r *Reader) follow(s span, notices []notice) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errGone()
	}
	holder, err := r.hold(s)
	if err != nil {
		r.mu.Unlock()
		return err
	}
	waiting := r.settle()
	r.b.tail.mu.Lock()
	r.drop(s.name)
	f := &follow{reader: r, span: s, holder: holder}
	r.follows = append(r.follows, f)
	r.countShape(f, 1)
	r.b.tail.enter(f)
	r.b.tail.mu.Unlock()
	r.notices = append(r.notices, notices...)
	r.mu.Unlock()
	if waiting {
		r.wake()
	}
	return nil
}

// Unsubscribe ends a subscription; to one that there is not it does nothing.
func (r *Reader) Unsubscribe(name string) {
	r.mu.Lock()
	waiting := r.settle()
	r.b.tail.mu.Lock()
	dropped := r.drop(name)
	r.b.tail.mu.Unlock()
	if dropped != nil {
		r.b.holdings.leave(dropped.holder, dropped.span)
	}
	r.mu.Unlock()
	if waiting {
		r.wake() // it stands nowhere until TryNext is called
	}
}

// Len is the number of subscriptions.
func (r *Reader) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.follows)
}

// Names are the names of the subscriptions.
func (r *Reader) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, len(r.follows))
	for i, f := range r.follows {
		names[i] = f.name
	}
	return names
}

// drop removes the subscription with that name, if there is one, and what was to
// be said of it. The caller holds mu and tail.mu, and has settled.
func (r *Reader) drop(name string) *follow {
	for i, f := range r.follows {
		if f.name == name {
			r.b.tail.leave(f)
			r.countShape(f, -1)
			r.follows = slices.Delete(r.follows, i, i+1)
			r.notices = slices.DeleteFunc(r.notices, func(n notice) bool { return n.name == name })
			return f
		}
	}
	return nil
}

// settle writes down how far each follow is served, and forgets everything
// else about where the reader stands, so that the set of follows may change.
// It reports whether TryNext has promised to wake the owner. The caller holds mu.
func (r *Reader) settle() (waiting bool) {
	t := r.b.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	waiting = r.parked || r.fetching
	if r.joined {
		pos := r.pos
		if len(r.ready) == 0 {
			pos = max(pos, t.head)
		}
		for _, f := range r.follows {
			f.after = max(f.after, pos)
		}
	} else {
		for _, f := range r.follows {
			f.after = r.position(f)
		}
	}
	r.leaveWindows()
	r.backlog, r.through, r.served = nil, 0, 0
	r.fetching = false
	r.round++
	return waiting
}

// leaveWindows makes the reader find its places anew. The caller holds mu and tail.mu for reading.
func (r *Reader) leaveWindows() {
	r.joined, r.parked = false, false
	for _, f := range r.ready {
		f.ready = false
	}
	clear(r.ready)
	r.ready = r.ready[:0]
	for _, s := range r.shares {
		s.found = nil
	}
}

// position is how far f is served while the reader catches up. The caller holds mu.
func (r *Reader) position(f *follow) uint64 {
	switch {
	case !f.behind || r.through == 0:
		return f.after
	case len(r.backlog) == 0:
		return max(f.after, r.through)
	default:
		return max(f.after, r.served)
	}
}

// place is the number of the first entry in its window that f has still to take.
func (f *follow) place() uint64 {
	if f.share != nil {
		return f.share.place()
	}
	return f.next
}

// peek is f's next entry that it has not been served, or nil if there is none, or
// if its share has none before next.
func (f *follow) peek() *Entry {
	if f.share != nil {
		return f.share.peek()
	}
	w := f.window
	for f.next < w.end() {
		e := w.entries[f.next-w.base]
		if !e.dead.Load() && e.Seq > f.after {
			return e
		}
		f.next++
	}
	return nil
}

// shift goes past what peek returned.
func (f *follow) shift() {
	if f.share != nil {
		f.share.found = f.share.found[1:]
	} else {
		f.next++
	}
}

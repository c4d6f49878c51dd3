package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/fairlead/fairlead/protocol"
)

// A Reader is a cursor over a set of channels and patterns. It sees every
// message of theirs after where each subscription starts, once, in the order
// of the log, however slowly it is read: what has left the tail is read from
// the stored log. Where messages are not in the log any more, it gets a gap in
// their place.
//
// Its methods may be called from several goroutines, but TryNext and Next only
// from one at a time.
type Reader struct {
	b      *Broker
	notify func()        // what wakes the owner
	wakes  chan struct{} // what wakes Next, if there is no notify

	asked *catchUp // what waits for its turn; guarded by catchUps.mu

	mu      sync.Mutex // guards the following
	follows []*follow
	shapes  map[shape]int // of the patterns among follows: how many have it
	shares  []*share      // of the windows that several of follows are read from
	limit   int           // of follows; 0 is none
	client  Client        // takes turns where the stored log has to be read
	notices []notice      // to be handed out before anything else; a few of each follow
	closed  bool

	// Catching up. What was found for the follows that are behind, and is to be handed out.
	backlog  []*Entry
	through  uint64 // up to where those follows are served when the backlog has been handed out
	served   uint64 // the last entry handed out of it
	fetching bool   // the log is being read for this reader
	round    uint64 // changes when what is fetched is not wanted any more

	// Written under mu and at least tail.mu.RLock by the reader; under tail.mu.Lock by the follower.
	joined bool      // all follows have their places in the windows
	ready  []*follow // those with something to take
	parked bool      // to be woken
	pos    uint64    // while joined: everything up to here was handed out
}

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

// NewReader makes a reader without subscriptions. notify, if it is not nil, is
// called after TryNext found nothing, when there may be something. It is
// called from the follower: it must not block, nor call the reader. The caller
// must Close the reader.
func (b *Broker) NewReader(notify func()) *Reader {
	r := &Reader{b: b, notify: notify}
	if notify == nil {
		r.wakes = make(chan struct{}, 1)
	}
	return r
}

func (r *Reader) wake() {
	if r.notify != nil {
		r.notify()
		return
	}
	select {
	case r.wakes <- struct{}{}:
	default:
	}
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

// SetClient tells for whom this reader is, from when it next asks for something
// of the stored log, or subscribes. As at first, it is a client of its own.
func (r *Reader) SetClient(c Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = c
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

// Close ends all subscriptions, and a Next that waits. It may be called more than once.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.settle()
	r.b.catchUps.giveUp(r)
	r.b.tail.mu.Lock()
	defer r.b.tail.mu.Unlock()
	for _, f := range r.follows {
		r.b.tail.leave(f)
		r.b.holdings.leave(f.holder, f.span)
	}
	r.follows, r.notices = nil, nil
	if r.notify == nil {
		r.wake()
	}
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

// Watermark is the position up to which everything subscribed to was handed out.
func (r *Reader) Watermark() protocol.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.b.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	pos := t.head
	switch {
	case len(r.follows) == 0:
	case r.joined && len(r.ready) == 0:
		pos = max(pos, r.pos) // it may have begun ahead of this node
	case r.joined:
		pos = r.pos
	default:
		for _, f := range r.follows {
			pos = min(pos, r.position(f))
		}
	}
	for _, n := range r.notices {
		pos = min(pos, n.from)
	}
	return r.b.id(pos)
}

// TryNext hands out what there is, at most len(into) entries, and returns how
// many. If it is fewer than len(into), the reader's notify is called when
// there may be more.
func (r *Reader) TryNext(into []*Entry) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(into) && len(r.notices) > 0 {
		into[n] = r.notices[0].Entry
		r.notices[0] = notice{} // or the array would hold on to it
		r.notices = r.notices[1:]
		n++
	}
	if len(r.notices) == 0 {
		r.notices = nil
	}
	for n < len(into) && !r.closed {
		if len(r.backlog) > 0 {
			k := copy(into[n:], r.backlog)
			r.served = r.backlog[k-1].Seq
			r.backlog = r.backlog[k:]
			n += k
			continue
		}
		if r.through > 0 {
			r.caughtUp()
		}
		if !r.joined {
			if r.fetching || !r.join() {
				return n
			}
			continue
		}
		k, exhausted := r.take(into[n:])
		n += k
		if exhausted {
			return n
		}
	}
	return n
}

// Next hands out at least one entry, and waits for it until ctx ends, when it
// returns context.Cause, or until the reader is closed, when it returns the
// error gone. Only for readers without a notify.
func (r *Reader) Next(ctx context.Context, into []*Entry) (int, error) {
	for {
		if n := r.TryNext(into); n > 0 {
			return n, nil
		}
		if r.isClosed() {
			return 0, errGone()
		}
		select {
		case <-r.wakes:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (r *Reader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Wakes has something in it when TryNext should be called again. Only for
// readers without a notify.
func (r *Reader) Wakes() <-chan struct{} { return r.wakes }

// CatchingUp tells whether the stored log is being read for the reader, so
// that TryNext hands out nothing though there is something.
func (r *Reader) CatchingUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.joined && !r.closed // also when it has been read, and not handed out yet
}

// take hands out entries from the windows in the log's order, and parks the
// reader if there are no more. It finds out as well if the tail has moved past
// the reader, which is then not joined any more. The caller holds mu.
func (r *Reader) take(into []*Entry) (n int, exhausted bool) {
	t := r.b.tail
	t.mu.RLock()
	defer t.mu.RUnlock()
	for n < len(into) {
		e, unsifted, behind := r.first()
		if unsifted != nil {
			unsifted.sift(t)
			continue
		}
		if behind {
			if r.pos < t.floor { // or a purge took them
				r.b.stats.behind.Add(1)
			}
			for _, f := range r.follows {
				f.after = max(f.after, r.pos)
			}
			r.leaveWindows()
			return n, false
		}
		if e == nil {
			r.parked = true
			return n, true
		}
		r.pos = max(r.pos, e.Seq)
		into[n] = e
		n++
	}
	return n, false
}

// first takes the oldest entry of all ready follows, or nil if there is none, or
// if it is not known because a share has to be sifted before, or because the tail
// has moved past one. The caller holds mu and tail.mu for reading.
func (r *Reader) first() (first *Entry, unsifted *share, behind bool) {
	// As a rule there is one ready follow, and hardly ever more than a few.
	for i := 0; i < len(r.ready); {
		f := r.ready[i]
		if f.next < f.window.base {
			return nil, nil, true
		}
		e := f.peek()
		if e == nil && f.next < f.window.end() {
			return nil, f.share, false
		}
		if e == nil {
			f.ready = false
			last := len(r.ready) - 1
			r.ready[i] = r.ready[last]
			r.ready[last] = nil
			r.ready = r.ready[:last]
			continue
		}
		if first == nil || e.Seq < first.Seq {
			first = e
		}
		i++
	}
	if first == nil {
		return nil, nil, false
	}
	for _, f := range r.ready { // several, if subscriptions overlap
		if e := f.peek(); e == first {
			f.shift()
		}
	}
	return first, nil, false
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

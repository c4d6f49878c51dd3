package broker

import (
	"context"
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

// SetClient tells for whom this reader is, from when it next asks for something
// of the stored log, or subscribes. As at first, it is a client of its own.
func (r *Reader) SetClient(c Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = c
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
		if f.place() < f.window.base {
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

package broker

import (
	"slices"
	"sort"
	"sync"

	"github.com/nats-io/nats-server/v2/server/gsl"
)

// tail is the recent part of the log, in memory, bounded by bytes. The
// follower appends to it; readers have cursors into it and take from it as
// much as they like, when they like. Nothing in it grows with a slow reader.
//
// Messages lie in windows: one for each channel that has messages here or is
// followed, and one for each pattern that is followed, or for what is below its
// literal prefix (see ownShapes). A cursor into a window is a number.
type tail struct {
	epoch string // constant
	limit int    // bytes; constant

	// mu orders the follower, which writes under Lock, and readers, which read
	// under RLock. A reader's own state that the follower touches (follow,
	// Reader.ready, .parked, .pos) is written by the reader under RLock too:
	// each reader has one caller at a time.
	mu         sync.RWMutex
	floor      uint64 // every message after this, up to head, is here
	head       uint64 // the last sequence that was appended
	bytes      int
	all        window // every message, in the log's order
	channels   map[string]*window
	patterns   map[string]*window
	shapes     map[string]map[shape]int     // by literal prefix: how many patterns of each shape have a window, beside the common one
	interest   *gsl.GenericSublist[*window] // the windows of patterns
	changes    uint64                       // of interest: what windows remember of it is good for one value
	milestones []milestone                  // what the head has still to reach

	// Owned by the follower.
	woken []*Reader
}

func newTail(epoch string, limit int) *tail {
	return &tail{
		epoch:    epoch,
		limit:    limit,
		channels: make(map[string]*window),
		patterns: make(map[string]*window),
		shapes:   make(map[string]map[shape]int),
		interest: gsl.NewSublist[*window](),
	}
}

// window is the part of the log, within the tail, of one channel or pattern.
// Its entries are numbered: those in it are base, base+1, …
type window struct {
	name    string
	entries []*Entry
	base    uint64
	from    uint64    // for patterns: entries up to this are not here, though they may be in the tail
	follows []*follow // places in it

	// For channels: the windows of patterns that match it, as of that state of tail.interest.
	matching []*window
	asOf     uint64
}

func (w *window) end() uint64 { return w.base + uint64(len(w.entries)) }

// after is the number of the first entry after seq.
func (w *window) after(seq uint64) uint64 {
	if n := len(w.entries); n == 0 || w.entries[n-1].Seq <= seq {
		return w.end()
	}
	i := sort.Search(len(w.entries), func(i int) bool { return w.entries[i].Seq > seq })
	return w.base + uint64(i)
}

// before are the entries before seq; of no window, none.
func (w *window) before(seq uint64) []*Entry {
	if w == nil || seq == 0 {
		return nil
	}
	return w.entries[:w.after(seq-1)-w.base]
}

func (w *window) pop() {
	w.entries[0] = nil // or the array would hold on to it
	w.entries = w.entries[1:]
	w.base++
	if len(w.entries) == 0 {
		w.entries = nil
	}
}

// pointerSize is what an entry costs in the window of a pattern: a pointer, as
// much again that append leaves free, and one to the window, which a channel
// remembers for at least one entry.
const pointerSize = 24

// append adds e, which must be the follower's next, and wakes who waits for it.
func (t *tail) append(e *Entry) {
	t.mu.Lock()
	t.advance(e.Seq)
	t.bytes += e.size()
	t.all.entries = append(t.all.entries, e)
	w := t.channel(e.Channel)
	if e.Gap {
		t.purge(w)
	}
	t.push(w, e)
	for _, p := range t.matching(w) {
		t.push(p, e)
		t.bytes += pointerSize
	}
	for t.bytes > t.limit && len(t.all.entries) > 1 {
		t.evict()
	}
	t.mu.Unlock()
	t.wakeAll()
}

// skip moves the head over a message that is none.
func (t *tail) skip(seq uint64) {
	t.mu.Lock()
	t.advance(seq)
	t.mu.Unlock()
}

// push adds e to a window and marks its followers ready. The caller holds mu.
func (t *tail) push(w *window, e *Entry) {
	w.entries = append(w.entries, e)
	for _, f := range w.follows {
		if f.ready {
			continue
		}
		f.ready = true
		r := f.reader
		r.ready = append(r.ready, f)
		if r.parked {
			r.parked = false
			r.pos = max(r.pos, e.Seq-1) // nothing of it lies between
			t.woken = append(t.woken, r)
		}
	}
}

// purge takes a channel's entries out: what follows voids them. The caller holds mu.
func (t *tail) purge(w *window) {
	for len(w.entries) > 0 {
		w.entries[0].dead.Store(true) // it stays where it is in the windows of patterns
		w.pop()
	}
}

// evict drops the oldest entry. The caller holds mu.
func (t *tail) evict() {
	e := t.all.entries[0]
	t.all.pop()
	t.bytes -= e.size()
	t.floor = e.Seq
	w := t.channels[e.Channel] // it is there: if e was purged, it has at least the mark
	for _, p := range t.matching(w) {
		if len(p.entries) > 0 && p.entries[0] == e {
			p.pop()
			t.bytes -= pointerSize
		}
	}
	if len(w.entries) > 0 && w.entries[0] == e {
		w.pop()
	}
	t.forget(w)
}

// channel is the window of a channel, new if need be. The caller holds mu.
func (t *tail) channel(name string) *window {
	w := t.channels[name]
	if w == nil {
		w = &window{name: name}
		t.channels[name] = w
	}
	return w
}

// pattern is the window of a pattern, or the common one of its prefix if there
// are windows of enough shapes; new if need be. The caller holds mu.
func (t *tail) pattern(name string) *window {
	if w := t.patterns[name]; w != nil {
		return w
	}
	prefix, s := shapeOf(name)
	if name != common(prefix) {
		of := t.shapes[prefix]
		if of[s] == 0 && len(of) >= ownShapes {
			return t.pattern(common(prefix))
		}
		if of == nil {
			of = make(map[shape]int)
			t.shapes[prefix] = of
		}
		of[s]++
	}
	w := &window{name: name, from: t.head}
	t.patterns[name] = w
	// A valid pattern is a valid subject: Insert cannot fail.
	_ = t.interest.Insert(name, w)
	t.changes++
	return w
}

// dropShape forgets that the pattern has a window. The caller holds mu.
func (t *tail) dropShape(pattern string) {
	prefix, s := shapeOf(pattern)
	of := t.shapes[prefix]
	if pattern == common(prefix) {
		return
	}
	if of[s]--; of[s] == 0 {
		delete(of, s)
	}
	if len(of) == 0 {
		delete(t.shapes, prefix)
	}
}

// matching are the windows of patterns that match the channel of w. The caller holds mu.
func (t *tail) matching(w *window) []*window {
	if w.asOf != t.changes {
		w.asOf = t.changes
		w.matching = w.matching[:0]
		t.interest.Match(w.name, func(p *window) { w.matching = append(w.matching, p) })
		clear(w.matching[len(w.matching):cap(w.matching)])
	}
	return w.matching
}

// forget drops a window that nobody needs. The caller holds mu.
func (t *tail) forget(w *window) {
	if len(w.follows) > 0 {
		return
	}
	if t.patterns[w.name] == w {
		delete(t.patterns, w.name)
		t.dropShape(w.name)
		t.bytes -= len(w.entries) * pointerSize
		w.entries = nil // windows of channels remember it until they are used again
		_ = t.interest.Remove(w.name, w)
		t.changes++
	} else if len(w.entries) == 0 && t.channels[w.name] == w {
		delete(t.channels, w.name)
	}
}

// enter makes f, one of its reader's follows, follow its window. The caller
// holds Reader.mu and mu.
func (t *tail) enter(f *follow) {
	switch {
	case !f.wild:
		f.window = t.channel(f.name)
	default:
		f.window = t.pattern(f.name)
		if f.window.name != f.name {
			f.reader.shareOf(f.window).add(f)
			return
		}
	}
	f.window.put(f)
}

// leave undoes enter. The caller holds Reader.mu and mu.
func (t *tail) leave(f *follow) {
	w := f.window
	if f.share != nil {
		f.share.remove(f)
	} else {
		w.take(f)
	}
	f.window = nil
	t.forget(w)
}

// put gives f its place among those that are woken. The caller holds tail.mu.
func (w *window) put(f *follow) {
	f.slot = len(w.follows)
	w.follows = append(w.follows, f)
}

// take undoes put. The caller holds tail.mu.
func (w *window) take(f *follow) {
	last := len(w.follows) - 1
	w.follows[f.slot] = w.follows[last]
	w.follows[f.slot].slot = f.slot
	w.follows[last] = nil
	w.follows = w.follows[:last]
	if last == 0 {
		w.follows = nil
	}
}

// scanEntries is how many entries are looked at while mu is held: the follower waits.
const scanEntries = 4096

// next are some of the entries after from, and up to where those are all. The
// caller holds mu for reading.
func (t *tail) next(from uint64) (entries []*Entry, through uint64) {
	all := t.all.entries[t.all.after(from)-t.all.base:]
	through = max(t.head, from)
	if len(all) > scanEntries {
		all = all[:scanEntries]
		through = all[scanEntries-1].Seq
	}
	return slices.Clone(all), through
}

// last are the last n entries of a channel before seq that the tail holds, and from where on it holds all.
func (t *tail) last(channel string, before uint64, n int) (entries []*Entry, floor uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	entries = t.channels[channel].before(before)
	return slices.Clone(entries[max(0, len(entries)-n):]), t.floor
}

// trim drops what is before first: it is not in the stored log any more.
func (t *tail) trim(first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.all.entries) > 0 && t.all.entries[0].Seq < first {
		t.evict()
	}
	t.floor = max(t.floor, min(first-1, t.head))
}

// lost makes the tail begin anew after seq, because messages before that never
// came. Every reader is sent to the stored log, which knows what is missing.
func (t *tail) lost(seq uint64) {
	t.mu.Lock()
	for len(t.all.entries) > 0 {
		t.evict()
	}
	for _, windows := range []map[string]*window{t.channels, t.patterns} {
		for _, w := range windows {
			w.base++ // so that nobody's place is in it
			for _, f := range w.follows {
				t.dislodge(f)
			}
		}
	}
	t.floor = seq
	t.advance(seq)
	t.mu.Unlock()
	t.wakeAll()
}

// dislodge makes f's reader find that it is behind. The caller holds mu.
func (t *tail) dislodge(f *follow) {
	r := f.reader
	if len(r.ready) == 0 {
		r.pos = max(r.pos, t.head)
	}
	if !f.ready {
		f.ready = true
		r.ready = append(r.ready, f)
	}
	if r.parked {
		r.parked = false
		t.woken = append(t.woken, r)
	}
}

// wakeAll wakes those that were collected. Only the follower calls it, without mu.
func (t *tail) wakeAll() {
	for i, r := range t.woken {
		t.woken[i] = nil
		r.wake()
	}
	t.woken = t.woken[:0]
}

package fairlead

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// noon is a time for tests of decisions, which have no clock.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

var ladder = []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Poll}

// way is what becomes of the attachments by one transport.
type way struct {
	err    error         // the answer to an attempt; nil: it is welcomed
	hangs  bool          // nothing is answered
	mute   bool          // nothing comes after the welcome
	after  time.Duration // to the answer
	life   time.Duration // from the welcome to the end; 0: it has none
	silent bool          // that end is not seen
	away   time.Duration // from the welcome to a goaway; 0: there is none
}

var (
	good    = way{after: 20 * time.Millisecond}
	hanging = way{hangs: true}
	denied  = way{err: &StatusError{Status: 403}, after: 20 * time.Millisecond}
	muted   = way{mute: true, after: 20 * time.Millisecond}
	errDial = &net.OpError{Op: "dial", Err: errors.New("refused")}
)

const worldBeat = 15 * time.Second

// world plays a network and a server to a link, by a clock of its own.
type world struct {
	t       testing.TB
	seed    uint64
	dice    *rand.Rand
	now     time.Time
	link    link
	ways    map[protocol.Transport]way
	cut     bool // nothing gets through, and nothing says so
	down    bool // nothing gets through, and connections are refused
	net     string
	known   map[string]recollection
	offered []protocol.Transport
	awayFor time.Duration // of a goaway; 0: a second, negative: none

	queue    happenings
	queued   int
	alive    map[int]bool // attachments of the server's side, which are heard of
	opened   []time.Time
	opens    []protocol.Transport
	story    []string // what the caller is told
	failure  error
	notice   func(effect any) // nil: nobody
	noted    []recollection
	lastBeat time.Duration
	issuer   *issuer // nil: there are no tokens
}

type happening struct {
	at time.Time
	n  int
	do func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].n < h[j].n
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func newWorld(t testing.TB, seed uint64, ways ...way) *world {
	w := &world{
		t: t, seed: seed, dice: rand.New(rand.NewPCG(seed, 2)), now: noon, link: newLink(ladder, false),
		ways: map[protocol.Transport]way{}, alive: map[int]bool{}, known: map[string]recollection{},
	}
	for i, way := range ways {
		w.ways[ladder[i]] = way
	}
	return w
}

func (w *world) in(d time.Duration, do func()) {
	w.queued++
	heap.Push(&w.queue, happening{w.now.Add(d), w.queued, do})
}

// start starts the link, with what is remembered.
func (w *world) start(recalled recollection) *world {
	w.feed(started{recalled})
	return w
}

// run lets time go by.
func (w *world) run(d time.Duration) *world {
	end := w.now.Add(d)
	for {
		next := w.link.deadline(&defaults)
		tick := !next.IsZero()
		if len(w.queue) > 0 && (!tick || !next.Before(w.queue[0].at)) {
			next, tick = w.queue[0].at, false
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return w
		}
		if next.After(w.now) {
			w.now = next
		}
		if tick {
			w.feed(ticked{})
			if after := w.link.deadline(&defaults); !after.IsZero() && !after.After(w.now) {
				w.fail("a tick at %v leaves the deadline at %v", w.now, after)
			}
			continue
		}
		heap.Pop(&w.queue).(happening).do()
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, after %v: %s\n%v\n%+v", w.seed, w.now.Sub(noon), fmt.Sprintf(format, args...), w.story, w.link)
}

func (w *world) feed(e any) {
	before := w.link
	served := before.serving()
	var effects []any
	w.link, effects = step(&defaults, before, moment{w.now, w.dice.Float64()}, e)
	for _, effect := range effects {
		if w.notice != nil {
			w.notice(effect)
		}
		w.play(effect, served, e)
	}
	w.check()
}

func (w *world) play(effect any, served *attempt, e any) {
	switch f := effect.(type) {
	case open:
		w.lastBeat = f.beat
		w.opened, w.opens = append(w.opened, w.now), append(w.opens, f.transport)
		w.answer(f)
	case shut:
		delete(w.alive, f.attempt)
		if served != nil && f.attempt == served.number && w.link.serving() == nil && !w.link.ended {
			if w.now.Before(served.dead(&defaults)) {
				w.fail("%v ended the attachment that served: %+v", e, served)
			}
		}
	case ping:
		way, reached := good, !w.cut && !w.down
		took := way.after
		switch {
		case w.cut:
			took = pingLimit
		case w.down:
			took = time.Millisecond
		}
		w.in(took, func() { w.feed(ponged{reached: reached, good: reached, took: took}) })
	case renew:
		w.issue(f)
	case show:
		w.authorize(f)
	case note:
		w.noted = append(w.noted, recollection(f))
		w.known[f.Net] = recollection(f)
	case attached:
		w.story = append(w.story, "+"+string(f.transport))
	case detached:
		w.story = append(w.story, "-"+string(f.transport))
	case unreachable:
		w.story = append(w.story, "offline")
	case failed:
		w.story = append(w.story, "failed")
		w.failure = f.err
	}
}

// answer plays the server's side of one attachment.
func (w *world) answer(o open) {
	n, t := o.attempt, o.transport
	way := w.ways[t]
	w.alive[n] = true
	w.hold(n)
	if w.down {
		w.in(time.Millisecond, func() { w.end(n, errDial) })
		return
	}
	if w.cut || way.hangs {
		return
	}
	if way.err != nil {
		w.in(way.after, func() { w.end(n, way.err) })
		return
	}
	beat := worldBeat
	if o.beat > 0 {
		beat = o.beat
	}
	w.in(way.after, func() {
		if !w.alive[n] || w.cut {
			return
		}
		if err := w.refusal(n); err != nil {
			w.end(n, err)
			return
		}
		w.feed(welcomed{attempt: n, quiet: beat, offered: w.offered, recalled: w.recall()})
		w.grant(n)
		if way.mute {
			return
		}
		proof := 250 * time.Millisecond
		if t == protocol.Poll {
			proof = 0
		}
		w.in(proof, func() { w.hear(n, proved{n}) })
		w.in(beat, func() { w.beats(n, beat) })
		if way.away > 0 {
			w.in(way.away, func() { w.hear(n, sentAway{n, max(0, cmp.Or(w.awayFor, time.Second))}) })
		}
		if way.life > 0 {
			w.in(way.life, func() {
				if way.silent {
					delete(w.alive, n)
					return
				}
				w.end(n, io.EOF)
			})
		}
	})
}

// beats plays the beats of an attachment for as long as it is heard of.
func (w *world) beats(n int, beat time.Duration) {
	if w.alive[n] && !w.cut && !w.down {
		w.feed(heard{n, w.now})
		w.in(beat, func() { w.beats(n, beat) })
	}
}

func (w *world) recall() recollection {
	if r, ok := w.known[w.net]; ok {
		return r
	}
	return recollection{Net: w.net}
}

func (w *world) hear(n int, e any) {
	if w.alive[n] && !w.cut && !w.down {
		w.feed(e)
	}
}

func (w *world) end(n int, err error) {
	if !w.alive[n] || w.cut {
		return
	}
	delete(w.alive, n)
	a := w.link.attempt(n)
	w.feed(ended{attempt: n, verdict: judge(err, a != nil && a.serves()), err: err, wait: askedWait(err), token: w.tokenOf(n)})
}

// leave takes the network away: visibly, or not.
func (w *world) leave(visibly bool) {
	w.down, w.cut = visibly, !visibly
	if !visibly {
		clear(w.alive) // what is cut off stays dead
		return
	}
	for n := range w.alive {
		w.in(0, func() { w.end(n, io.ErrUnexpectedEOF) })
	}
}

func (w *world) comeBack() { w.down, w.cut = false, false }

// check holds the link to what must always be so.
func (w *world) check() {
	proven := 0
	for i := range w.link.attempts {
		a := &w.link.attempts[i]
		if a.serves() {
			proven++
		}
		if at := a.deadline(&defaults, w.link.rtt); at.IsZero() || at.Sub(w.now) > defaults.budget+2*worldBeat+defaults.asked*2 {
			w.fail("no limit for %+v", a)
		}
	}
	if proven > 1 {
		w.fail("%d attachments serve", proven)
	}
	if !w.link.ended && w.link.deadline(&defaults).IsZero() && !w.link.pass.asking {
		w.fail("nothing will ever happen")
	}
	if minute := w.inAMinute(w.opened); minute > 150 {
		w.fail("%d attempts in a minute", minute)
	}
	w.checkTokens()
}

// inAMinute is how many of the times are less than a minute ago.
func (w *world) inAMinute(times []time.Time) (n int) {
	for _, at := range slices.Backward(times) {
		if w.now.Sub(at) > time.Minute {
			break
		}
		n++
	}
	return n
}

// serving is the transport that serves.
func (w *world) serving() protocol.Transport {
	if a := w.link.serving(); a != nil {
		return a.transport
	}
	return ""
}

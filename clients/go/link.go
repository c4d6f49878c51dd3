package fairlead

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A link decides which transports to try, when, which one serves, and when to
// give one up (DESIGN: prove, race, switch, demote, climb, remember). It is a
// value: step makes the next one of it and of what happened, and says what to
// do. It has no clock, no dice and no connections; the subscription has them.
type link struct {
	rungs    []rung    // the best transport first
	attempts []attempt // under way, in the order in which they began; at most one is proven: it serves
	begun    int       // attempts so far; the last one's number
	plan     []start   // of the race: what is still to begin, the earliest first
	resume   time.Time // when to race again; zero: no wait is on
	front    int       // the attempt that the caller knows of as attached; 0: none
	last     protocol.Transport
	reason   string // why front came to be
	ended    bool   // for good
	pass     pass

	// Of the race.
	answered bool          // something did
	asked    time.Duration // to be left alone for, by who failed
	rtt      time.Duration // a rough one; 0: not known

	// Of the waits.
	failures int
	lostAt   time.Time // when a healthy attachment was lost; zero: none was
	vain     bool      // a race came to nothing since something was proven
	offline  bool
	pinging  bool
	hopes    bool      // a good answer to the ping begins a race
	pingAt   time.Time // zero: none is due

	// What was learned.
	beat      time.Duration // to ask for; 0: the server's
	undo      *lessons      // what was known before the last loss; nil: it has been confirmed
	net       string        // of the network; empty: not known
	preferred protocol.Transport
}

// moment is when something happens, and the chance that goes with it, in [0, 1).
type moment struct {
	now    time.Time
	random float64
}

// A start is an attempt that is planned.
type start struct {
	transport protocol.Transport
	at        time.Time
	climb     bool
}

// What may happen to a link. Attempts are named by their numbers; those that it does not know any more are ignored.
type (
	started  struct{ recalled recollection }
	ticked   struct{}
	welcomed struct {
		attempt  int
		quiet    time.Duration // the longest silence in order: the beat, or what a poll waits
		offered  []protocol.Transport
		recalled recollection // of the network that the welcome names
	}
	proved struct{ attempt int }
	heard  struct {
		attempt int
		at      time.Time
	}
	sentAway struct {
		attempt int
		after   time.Duration
	}
	ended struct {
		attempt int
		verdict verdict
		err     error
		wait    time.Duration // that the server asked for
		token   int           // that it was made with
	}
	renewed struct { // the answer to renew
		number int   // of the latest token; the same as before: there is no other yet
		err    error // there is none
		final  bool  // and will be none
	}
	granted struct { // the server took the token
		attempt, token int
		life           time.Duration // that the token has left; 0: it is not known, or does not end
	}
	ungranted struct { // auth failed
		attempt, token int
		verdict        verdict
		err            error
		wait           time.Duration // that the server asked for
	}
	dismissed struct{ err error } // nothing is subscribed to any more
	ponged    struct {
		reached bool // something answered
		good    bool // the gateway did
		took    time.Duration
	}
)

// What a link asks for.
type (
	open struct {
		attempt   int
		transport protocol.Transport
		beat      time.Duration
	}
	shut struct{ attempt int } // in order, and not to be heard of again
	ping struct{}              // answered by a ponged, in any case
	drop struct{}              // of the connections that are kept for later requests: they may be dead
	note recollection          // to remember
	// A token newer than that one is wanted. Answered by a renewed, in any case.
	renew struct {
		after   int
		refused bool // the server does not take that one
	}
	// The attachment is to be given the token. Answered by a granted or an ungranted, or by its end, or not at all.
	show struct{ attempt, token int }

	// For the caller.
	attached struct {
		attempt   int
		transport protocol.Transport
		from      protocol.Transport
		reason    string
	}
	detached struct {
		transport protocol.Transport
		err       error
		retry     time.Duration
	}
	unreachable struct{}
	failed      struct{ err error } // for good
)

// newLink is a link over the transports, the best first. tokens: the client has some, and nothing begins without one.
func newLink(transports []protocol.Transport, tokens bool) link {
	l := link{rungs: make([]rung, len(transports)), pass: pass{needed: tokens}}
	for i, t := range transports {
		l.rungs[i].transport = t
	}
	return l
}

// step is what becomes of l when e happens. l itself remains as it is.
func step(p *policy, l link, at moment, e any) (link, []any) {
	if l.ended {
		return l, nil
	}
	l.attempts, l.rungs, l.plan = slices.Clone(l.attempts), slices.Clone(l.rungs), slices.Clone(l.plan)
	t := turn{policy: p, moment: at, link: &l}
	t.happen(e)
	t.settle()
	return l, t.effects
}

// turn is one step under way.
type turn struct {
	*policy
	moment
	*link
	effects []any
	fallen  []detached // to be told, when it is known how it goes on
}

func (t *turn) do(effect any) { t.effects = append(t.effects, effect) }

func (t *turn) happen(e any) {
	switch e := e.(type) {
	case started:
		t.recall(e.recalled)
		if t.barred() {
			t.askForToken()
		} else {
			t.race(t.order())
		}
	case ticked:
		t.tick()
	case welcomed:
		t.welcomed(e)
	case proved:
		if a := t.attempt(e.attempt); a != nil && !a.serves() {
			t.takeOver(a)
		}
	case heard:
		t.heard(e)
	case sentAway:
		t.sentAway(e)
	case ended:
		if a := t.attempt(e.attempt); a != nil {
			t.lose(*a, e)
		}
	case ponged:
		t.ponged(e)
	case renewed:
		t.renewed(e)
	case granted:
		t.granted(e)
	case ungranted:
		t.ungranted(e)
	case dismissed:
		t.fail(e.err)
	}
}

// settle sees to it that something goes on, and tells the caller what changed.
func (t *turn) settle() {
	if t.link.ended {
		return
	}
	if t.needed() && t.resume.IsZero() && !t.racing() && !t.barred() {
		t.exhausted()
	}
	for _, d := range t.fallen {
		d.retry = t.untilNext()
		t.do(d)
	}
	front := t.frontmost()
	if front == nil || front.number == t.front {
		if front == nil {
			t.front = 0
		}
		return
	}
	t.front = front.number
	t.do(attached{attempt: front.number, transport: front.transport, from: t.last, reason: t.reason})
	t.last = front.transport
}

// frontmost is the attempt that serves, or else the first that is welcomed.
func (l *link) frontmost() *attempt {
	if a := l.serving(); a != nil {
		return a
	}
	for i := range l.attempts {
		if l.attempts[i].isWelcomed() {
			return &l.attempts[i]
		}
	}
	return nil
}

// needed tells whether another attachment is wanted than the one that serves.
func (l *link) needed() bool {
	a := l.serving()
	return a == nil || a.suspect || a.leaving
}

// racing tells whether there are candidates, or will be.
func (l *link) racing() bool {
	return len(l.plan) > 0 || slices.ContainsFunc(l.attempts, func(a attempt) bool { return !a.serves() })
}

// untilNext is how long it is until the next attempt begins; 0 if one is under way.
func (t *turn) untilNext() time.Duration {
	next := t.resume
	if t.barred() {
		next = t.link.pass.askAt
	}
	for _, s := range t.plan {
		next = earliest(next, s.at)
	}
	for _, a := range t.attempts {
		if !a.serves() || !t.needed() {
			return 0
		}
	}
	return max(0, next.Sub(t.now))
}

// deadline is when the link wants to be ticked; zero for never.
func (l *link) deadline(p *policy) time.Time {
	if l.ended {
		return time.Time{}
	}
	at := earliest(earliest(l.resume, l.pingAt), l.pass.askAt)
	for _, s := range l.plan {
		at = earliest(at, s.at)
	}
	for i := range l.attempts {
		at = earliest(at, l.attempts[i].deadline(p, l.rtt))
	}
	if !l.needed() {
		for i := range l.rungs {
			at = earliest(at, l.rungs[i].climbAt)
		}
	}
	return at
}

// earliest is the earlier of two times, of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// isDue tells whether a time, which may be none, has come.
func (at moment) isDue(when time.Time) bool { return !when.IsZero() && !at.now.Before(when) }

package fairlead

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// An attempt is one attachment as the link sees it, from its start to its end.
type attempt struct {
	number    int
	transport protocol.Transport
	climb     bool // made beside an attachment that serves well
	began     time.Time
	heard     time.Time     // when something came last; at first, when it began
	welcome   time.Time     // zero: not yet
	proven    time.Time     // zero: not yet
	quiet     time.Duration // the longest silence in order
	leave     time.Time     // when the server wants another attachment to be made; zero: it does not
	leaving   bool          // that time has come
	suspect   bool          // it serves, and has been silent for too long
	doubted   time.Time     // when that was noticed
	token     int           // that the server knows it by
	authing   bool          // it is being given another
	authAt    time.Time     // when that takes too long, or is to be tried again; zero: neither
}

func (a *attempt) serves() bool     { return !a.proven.IsZero() }
func (a *attempt) isWelcomed() bool { return !a.welcome.IsZero() }

// dead is when the attempt is over unless something comes.
func (a *attempt) dead(p *policy) time.Time {
	switch {
	case a.suspect: // nobody may have looked for long: then this is the time for a frame to be read
		return latest(a.heard.Add(a.quiet*3/2), a.doubted.Add(p.doubt))
	case a.serves():
		return a.heard.Add(a.quiet * 3 / 2) // PROTOCOL.md 3.5
	case a.isWelcomed():
		return a.heard.Add(p.proof) // what comes in the meantime came through
	case a.transport == protocol.Poll:
		return a.heard.Add(p.budget) // a long answer over a slow network
	default:
		return a.began.Add(p.budget)
	}
}

// doubtful is when silence becomes suspicious.
func (a *attempt) doubtful(p *policy, rtt time.Duration) time.Time {
	at := a.heard.Add(a.quiet + p.doubt)
	if a.transport == protocol.Poll {
		at = at.Add(2 * rtt) // an answer takes its way, and the question took it before
	}
	return at
}

// deadline is when the link has to look at the attempt.
func (a *attempt) deadline(p *policy, rtt time.Duration) time.Time {
	at := earliest(a.dead(p), a.authAt)
	if a.serves() && !a.suspect {
		at = earliest(at, a.doubtful(p, rtt))
	}
	if !a.leaving {
		at = earliest(at, a.leave)
	}
	return at
}

// diedEarly tells whether an attempt that is over by now had not lived for
// long: too short for the waits to begin anew, or else it might go on like that for ever.
func (a *attempt) diedEarly(p *policy, now time.Time) bool {
	return now.Sub(a.began) < max(time.Duration(p.early)*a.quiet, p.healthy)
}

func (l *link) attempt(number int) *attempt {
	for i := range l.attempts {
		if l.attempts[i].number == number {
			return &l.attempts[i]
		}
	}
	return nil
}

// serving is the attempt that is proven; nil if none is.
func (l *link) serving() *attempt {
	for i := range l.attempts {
		if l.attempts[i].serves() {
			return &l.attempts[i]
		}
	}
	return nil
}

func (l *link) isTried(t protocol.Transport) bool {
	return slices.ContainsFunc(l.attempts, func(a attempt) bool { return a.transport == t && !a.serves() })
}

// forget takes the attempt off the list.
func (l *link) forget(number int) {
	l.attempts = slices.DeleteFunc(l.attempts, func(a attempt) bool { return a.number == number })
}

// shut ends the attempts that are chosen, in order.
func (t *turn) shut(chosen func(*attempt) bool) {
	for _, a := range slices.Clone(t.attempts) {
		if chosen(&a) {
			t.do(shut{a.number})
			t.forget(a.number)
		}
	}
}

func (t *turn) welcomed(e welcomed) {
	a := t.attempt(e.attempt)
	if a == nil || a.isWelcomed() {
		return
	}
	a.welcome, a.heard, a.quiet = t.now, t.now, e.quiet
	t.rtt = min(t.now.Sub(a.began)/2, t.hold/2) // a connection and a request: two at least
	t.answer()
	t.offer(e.offered)
	t.arrive(e.recalled)
	if len(t.plan) > 0 { // its proof is due: no need to burden the server with others
		t.shift(max(0, t.now.Add(t.policy.settle).Sub(t.plan[0].at)))
	}
}

func (t *turn) heard(e heard) {
	a := t.attempt(e.attempt)
	if a == nil || !e.at.After(a.heard) {
		return
	}
	a.heard = e.at
	if a.suspect && t.now.Before(a.doubtful(t.policy, t.rtt)) { // it was only slow
		a.suspect = false
		if !a.leaving {
			t.callOff()
		}
	}
}

// callOff ends a race beside the attachment that serves: it is not needed any more.
func (t *turn) callOff() {
	t.plan = slices.DeleteFunc(t.plan, func(s start) bool { return !s.climb })
	t.resume, t.pingAt = time.Time{}, time.Time{}
	t.shut(func(a *attempt) bool { return !a.serves() && !a.climb })
}

// sentAway obeys a goaway. One that comes as soon as we do must not make us run in circles.
func (t *turn) sentAway(e sentAway) {
	a := t.attempt(e.attempt)
	if a == nil || !a.leave.IsZero() {
		return
	}
	wait := t.spread(e.after)
	if t.now.Sub(a.began) < t.brief {
		wait = max(wait, t.pause())
	}
	a.leave = t.now.Add(wait)
	if !a.serves() {
		t.plan = nil
	}
}

// takeOver makes the attempt, which is proven, the one that serves, if it is wanted.
func (t *turn) takeOver(a *attempt) {
	if !t.needed() && t.rank(a.transport) >= t.rank(t.serving().transport) {
		number := a.number
		t.shut(func(a *attempt) bool { return a.number == number })
		return
	}
	if old := t.serving(); old != nil {
		t.replaced(old, a.transport)
	} else if t.front != 0 && t.front != a.number {
		t.reason = string(a.transport) + " was proven first"
	}
	a.proven, a.heard = t.now, t.now
	number, rank := a.number, t.rank(a.transport)
	keep := func(other protocol.Transport) bool { // better ones may go on
		return t.rank(other) < rank && !t.rung(other).isBad(t.now)
	}
	t.learn(a.transport)
	t.plan = slices.DeleteFunc(t.plan, func(s start) bool { return !keep(s.transport) || a.transport == t.preferred })
	t.shut(func(o *attempt) bool { return o.number != number && (o.serves() || !keep(o.transport)) })
	for i := range t.attempts {
		t.attempts[i].climb = t.attempts[i].number != number
	}
	for i := range t.plan {
		t.plan[i].climb = true
	}
	t.resume, t.pingAt, t.vain, t.offline, t.answered = time.Time{}, time.Time{}, false, false, true
}

// replaced draws the lessons from an attachment that gives way to one by another or the same transport.
func (t *turn) replaced(old *attempt, by protocol.Transport) {
	switch {
	case old.suspect:
		t.reason = string(old.transport) + ": silent for too long"
		t.strike(old)
	case old.leaving:
		t.reason = "the server asked for another attachment"
	default:
		t.reason = string(by) + " is better"
	}
	t.thrive(old)
}

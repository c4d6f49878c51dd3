package fairlead

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// race plans an attempt by each transport, one after the other in that order.
func (t *turn) race(order []protocol.Transport) {
	for i := range t.rungs {
		t.rungs[i].suspect = false
	}
	t.resume, t.answered, t.link.asked, t.hopes = time.Time{}, false, 0, false
	t.pingAt = time.Time{}
	if t.serving() == nil && !t.barred() {
		t.pingAt = t.now.Add(t.ask)
	}
	t.schedule(order, false)
	t.begin()
}

// order is the transports as they are to be tried: what is remembered as good
// first, what is bad last, otherwise the best first.
func (t *turn) order() []protocol.Transport {
	var good, bad []protocol.Transport
	for i := range t.rungs {
		r := &t.rungs[i]
		switch {
		case r.absent:
		case r.demoted || r.isBad(t.now):
			bad = append(bad, r.transport)
		case r.transport == t.preferred:
			good = slices.Insert(good, 0, r.transport)
		default:
			good = append(good, r.transport)
		}
	}
	return append(good, bad...)
}

// schedule plans an attempt by each transport that is not under way.
func (t *turn) schedule(order []protocol.Transport, climb bool) {
	order = slices.DeleteFunc(order, t.isTried)
	t.plan = t.plan[:0]
	if t.barred() {
		return // until there is a token
	}
	at := t.now
	for i, transport := range order {
		switch {
		case i == 0:
		case transport == protocol.Poll, i == 1 && order[0] == t.preferred:
			at = at.Add(t.hold)
		default:
			at = at.Add(max(t.stagger, 2*t.rtt))
		}
		t.plan = append(t.plan, start{transport: transport, at: at, climb: climb})
	}
}

// begin starts what is due.
func (t *turn) begin() {
	for len(t.plan) > 0 && t.isDue(t.plan[0].at) {
		next := t.plan[0]
		t.plan = t.plan[1:]
		t.begun++
		t.attempts = append(t.attempts, attempt{number: t.begun, transport: next.transport, climb: next.climb, began: t.now, heard: t.now, token: t.link.pass.number})
		t.do(open{attempt: t.begun, transport: next.transport, beat: t.link.beat})
	}
}

// shift moves all that is planned by d.
func (t *turn) shift(d time.Duration) {
	for i := range t.plan {
		t.plan[i].at = t.plan[i].at.Add(d)
	}
}

// hasten begins the next one at once: one before it has failed.
func (t *turn) hasten() {
	if len(t.plan) > 0 {
		t.shift(min(0, t.now.Sub(t.plan[0].at)))
	}
	t.begin()
}

// tick does what the time has come for.
func (t *turn) tick() {
	for i := range t.attempts {
		if a := &t.attempts[i]; t.isDue(a.authAt) {
			t.reauthorize(a)
		}
	}
	for _, a := range slices.Clone(t.attempts) {
		t.look(a)
	}
	if t.link.ended {
		return
	}
	t.begin()
	if t.isDue(t.pingAt) {
		t.pingAt = time.Time{}
		t.ping()
	}
	if t.isDue(t.resume) {
		t.again()
	}
	if t.isDue(t.link.pass.askAt) {
		t.askForToken()
	}
	if !t.needed() {
		t.climb()
	}
}

// look does what the time has come for with one attempt.
func (t *turn) look(a attempt) {
	switch {
	case a.serves() && !a.suspect && t.isDue(a.doubtful(t.policy, t.rtt)):
		t.suspect(t.attempt(a.number))
	case t.isDue(a.dead(t.policy)):
		t.do(shut{a.number})
		err, verdict := errSilent, blocked
		if a.serves() {
			verdict = lost
		} else if !a.isWelcomed() {
			err = errNoWelcome
		} else {
			err = errNoProof
		}
		t.lose(a, ended{attempt: a.number, verdict: verdict, err: err})
	case !a.leaving && t.isDue(a.leave) && !a.serves():
		t.do(shut{a.number})
		t.lose(a, ended{attempt: a.number, verdict: over, err: errLeft})
	case !a.leaving && t.isDue(a.leave):
		t.attempt(a.number).leaving = true
		t.race(t.order())
	}
}

// suspect looks for another attachment, first by the same transport, while this one may still speak up.
func (t *turn) suspect(a *attempt) {
	a.suspect, a.doubted = true, t.now
	t.do(drop{})
	others := slices.DeleteFunc(t.order(), func(o protocol.Transport) bool { return o == a.transport })
	if r := t.rung(a.transport); r.demoted || r.isBad(t.now) || t.isSecondStrike(a) {
		t.race(append(others, a.transport))
	} else {
		t.race(slices.Insert(others, 0, a.transport))
	}
}

// climb tries the better transports whose time has come.
func (t *turn) climb() {
	var due []protocol.Transport
	for i := range t.rungs {
		if r := &t.rungs[i]; t.isDue(r.climbAt) {
			if !r.absent {
				due = append(due, r.transport)
			}
			r.tries++
			r.climbAt = t.now.Add(t.climbs[min(r.tries, len(t.climbs)-1)])
		}
	}
	if len(due) > 0 {
		t.schedule(due, true)
		t.begin()
	}
}

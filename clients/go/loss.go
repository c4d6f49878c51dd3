package fairlead

import (
	"slices"
	"time"
)

// lose deals with the end of an attempt.
func (t *turn) lose(a attempt, e ended) {
	t.forget(a.number)
	if !a.leave.IsZero() && (e.verdict == lost || e.verdict == blocked) {
		e.verdict = over
	}
	if isAnswer(e.err) {
		t.answer()
	}
	if e.verdict == fatal || e.verdict == refused && t.isLast(a) {
		t.fail(e.err)
		return
	}
	if t.front == 0 || t.front == a.number {
		t.fallen = append(t.fallen, detached{transport: a.transport, err: e.err})
		t.reason = string(a.transport) + ": " + e.err.Error()
	}
	switch {
	case e.verdict == rejected:
		t.deny(a, e)
	case a.serves():
		t.bereave(a, e)
	default:
		t.miss(a, e)
	}
}

// fail ends everything for good.
func (t *turn) fail(err error) {
	t.shut(func(*attempt) bool { return true })
	t.plan, t.link.ended = nil, true
	t.do(failed{err})
}

// isLast notes that the server does not offer a's transport, and tells whether it offers no other.
func (t *turn) isLast(a attempt) bool {
	t.rung(a.transport).absent = true
	for i := range t.rungs {
		if !t.rungs[i].absent {
			return false
		}
	}
	return true
}

// bereave deals with the end of the attachment that served.
func (t *turn) bereave(a attempt, e ended) {
	t.regret()
	if e.verdict == lost {
		t.strike(&a)
	}
	if e.verdict == lost || isTimeout(e.err) {
		t.shorten(&a, e.err)
	}
	t.thrive(&a)
	switch {
	case t.now.Sub(a.proven) >= t.healthy:
		t.failures, t.lostAt = 0, t.now
	case t.lostAt.IsZero():
		t.lostAt = t.now
	}
	if e.verdict == lost {
		t.do(drop{})
	}
	if (a.suspect || a.leaving) && t.racing() { // the race for another is on
		if !t.answered {
			t.pingAt = t.now
		}
		return
	}
	t.resume = t.now.Add(t.pauseAfter(a, e))
	t.pingAt = time.Time{}
}

// pauseAfter is how long to wait after a has ended as e says.
func (t *turn) pauseAfter(a attempt, e ended) time.Duration {
	if !a.leave.IsZero() { // the server spreads its clients' return: its wait takes the place of ours
		return max(0, a.leave.Sub(t.now))
	}
	return max(t.spread(e.wait), t.pause())
}

// miss deals with the end of a candidate.
func (t *turn) miss(a attempt, e ended) {
	beside := !t.needed() // one serves well
	switch e.verdict {
	case blocked, lost:
		if r := t.rung(a.transport); beside {
			r.markBad(t.now.Add(t.bad))
			t.remember()
		} else {
			r.suspect = true
		}
	case stale:
		t.plan = append(t.plan, start{transport: a.transport, at: t.now.Add(t.stagger), climb: a.climb})
		slices.SortStableFunc(t.plan, func(x, y start) int { return x.at.Compare(y.at) })
		return
	case over, unwell, forgotten: // Fairlead itself spoke: another transport hears no better
		t.plan, t.link.asked = nil, max(t.link.asked, e.wait)
		if !beside && !t.racing() {
			t.resume = t.now.Add(t.pauseAfter(a, e))
		}
		return
	}
	t.link.asked = max(t.link.asked, e.wait)
	t.hasten()
}

// exhausted ends a race in which nothing was proven.
func (t *turn) exhausted() {
	t.vain = true
	t.resume = t.now.Add(max(t.spread(t.link.asked), t.pause()))
	t.pingAt = time.Time{}
	if !t.answered && t.serving() == nil {
		t.ping() // is it the network?
	}
}

// again ends a wait: with a race, or while the loss is fresh with a ping, which is cheaper.
func (t *turn) again() {
	if !t.vain || !t.isFresh() || t.serving() != nil || t.racing() {
		t.race(t.order())
		return
	}
	t.resume, t.hopes = t.now.Add(t.freshWait), true
	t.ping()
}

func (t *turn) ping() {
	if !t.pinging {
		t.pinging = true
		t.do(ping{})
	}
}

// ponged deals with the answer to a ping, or that there was none.
func (t *turn) ponged(e ponged) {
	t.pinging = false
	if t.serving() != nil {
		return
	}
	back := t.offline
	switch {
	case e.good:
		t.rtt = min(e.took, t.hold/2)
		t.answer()
		t.recover(back)
	case e.reached:
		t.answer()
	case !t.answered && !t.offline:
		t.offline = true
		t.unlearn()
		t.do(unreachable{})
	}
	switch {
	case !t.offline:
	case t.racing(): // what hangs then may hang on when the network is back
		t.pingAt = t.now.Add(t.freshWait)
	case t.isFresh():
		t.resume = t.now.Add(t.pause())
	}
}

// recover makes use of the news that the gateway can be reached.
func (t *turn) recover(back bool) {
	if back { // what began before would hang on for long
		t.shut(func(a *attempt) bool { return !a.isWelcomed() })
		t.do(drop{})
	}
	if t.hopes || back && len(t.attempts) == 0 {
		t.race(t.order())
		t.answered = true
	}
}

// answer notes that something is there.
func (t *turn) answer() { t.answered, t.offline = true, false }

// isFresh tells whether a healthy attachment was lost a short while ago.
func (t *turn) isFresh() bool { return !t.lostAt.IsZero() && t.now.Sub(t.lostAt) < t.fresh }

// pause draws the next wait: from a window that doubles, so that clients that
// failed together do not come back together, but not from a large one at first.
func (t *turn) pause() time.Duration {
	window := min(t.policy.limit, t.base<<min(t.failures, 16))
	t.failures++
	if t.isFresh() {
		window, t.failures = min(window, t.freshWait), min(t.failures, 3)
	}
	return time.Duration(t.random * float64(window))
}

// spread is the wait that a server asked for, and up to a tenth of it more.
func (t *turn) spread(asked time.Duration) time.Duration {
	asked = min(max(0, asked), t.policy.asked)
	return asked + time.Duration(t.random*float64(asked)/10)
}

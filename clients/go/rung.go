package fairlead

import (
	"errors"
	"slices"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A rung is what the link knows of one transport.
type rung struct {
	transport protocol.Transport
	absent    bool      // the server does not offer it
	suspect   bool      // something does not let it through: it is bad, if another one is proven
	bad       time.Time // until when it is tried last; zero: it is not bad
	died      time.Time // early, the last time; zero: it did not
	demoted   bool      // it died early twice: it is tried last, and is bad if another one is proven
	tries     int       // climbs to it since it was good
	climbAt   time.Time // the next one; zero: none is due
}

func (r *rung) isBad(now time.Time) bool { return now.Before(r.bad) }

// markBad notes that it does not work here, though another does.
func (r *rung) markBad(until time.Time) { r.bad, r.suspect, r.demoted = until, false, false }

func (l *link) rung(t protocol.Transport) *rung {
	if i := l.rank(t); i < len(l.rungs) {
		return &l.rungs[i]
	}
	return &rung{} // not one of ours: what is noted of it is forgotten
}

// rank is the place of a transport: lower is better.
func (l *link) rank(t protocol.Transport) int {
	i := slices.IndexFunc(l.rungs, func(r rung) bool { return r.transport == t })
	if i < 0 {
		return len(l.rungs)
	}
	return i
}

// offer notes what the server offers. One that says nothing of it offers everything.
func (t *turn) offer(offered []protocol.Transport) {
	for i := range t.rungs {
		t.rungs[i].absent = len(offered) > 0 && !slices.Contains(offered, t.rungs[i].transport)
	}
	t.plan = slices.DeleteFunc(t.plan, func(s start) bool { return t.rung(s.transport).absent })
}

// learn draws the lessons from the proof of a transport: those that failed
// beside it are bad, and those that are better are tried again some time.
func (t *turn) learn(proven protocol.Transport) {
	t.undo = nil
	for i := range t.rungs {
		r := &t.rungs[i]
		switch {
		case r.transport == proven:
			r.bad, r.suspect, r.climbAt = time.Time{}, false, time.Time{}
			continue
		case r.suspect || r.demoted:
			r.markBad(t.now.Add(t.policy.bad))
		}
		climbAt := r.climbAt
		r.climbAt = time.Time{}
		if i < t.rank(proven) && !r.absent {
			r.climbAt = earliest(climbAt, t.now.Add(t.climbs[min(r.tries, len(t.climbs)-1)]))
		}
	}
	if t.preferred != "" && (t.rank(proven) < t.rank(t.preferred) || t.rung(t.preferred).isBad(t.now)) {
		t.preferred = proven
	}
	t.rememberAs(proven)
}

// thrive notes for how long an attachment served: a transport that was good for long is not a doubtful one any more.
func (t *turn) thrive(a *attempt) {
	if t.now.Sub(a.proven) >= t.policy.health {
		r := t.rung(a.transport)
		r.tries, r.demoted = 0, false
	}
}

// strike holds against its transport that an attachment died early, if it did.
func (t *turn) strike(a *attempt) {
	r := t.rung(a.transport)
	switch {
	case t.isSecondStrike(a):
		r.died, r.demoted = time.Time{}, true
	case a.leave.IsZero() && a.diedEarly(t.policy, t.now):
		r.died = t.now
	}
}

// isSecondStrike tells whether, if the attachment were to die now, that would be the second early death in a short while.
func (t *turn) isSecondStrike(a *attempt) bool {
	r := t.rung(a.transport)
	return a.leave.IsZero() && a.diedEarly(t.policy, t.now) && !r.died.IsZero() && t.now.Sub(r.died) < t.policy.strikes
}

// shorten asks for more beats if the attachment was cut for being idle.
func (t *turn) shorten(a *attempt, err error) {
	idle := t.now.Sub(a.heard)
	if errors.Is(err, errSilent) || idle < t.policy.idle {
		return
	}
	beat := max(t.floor, idle/2)
	if beat < a.quiet && (t.link.beat == 0 || beat < t.link.beat) {
		t.link.beat = beat
	}
}

// lessons are what the end of an attachment may teach, unless it was the network that went away.
type lessons struct {
	rungs []rung
	beat  time.Duration
}

// regret notes what is known now, to go back to it if need be.
func (t *turn) regret() {
	if t.undo == nil {
		t.undo = &lessons{rungs: slices.Clone(t.rungs), beat: t.link.beat}
	}
}

// unlearn goes back to what was known before the loss: the network is away, which says nothing of the transports.
func (t *turn) unlearn() {
	for i := range t.rungs {
		t.rungs[i].suspect = false
	}
	if t.undo == nil {
		return
	}
	for i, was := range t.undo.rungs {
		t.rungs[i].died, t.rungs[i].demoted = was.died, was.demoted
	}
	t.link.beat = t.undo.beat
}

// recall takes up what is remembered of a network.
func (t *turn) recall(r recollection) {
	t.net, t.preferred = r.Net, r.Good
	for i := range t.rungs {
		if slices.Contains(r.Bad, t.rungs[i].transport) {
			t.rungs[i].bad = t.now.Add(t.policy.bad)
		}
	}
}

// arrive notes which network this is. What is known of another one says nothing here.
func (t *turn) arrive(r recollection) {
	if r.Net == "" || r.Net == t.net {
		return
	}
	if t.net != "" {
		for i := range t.rungs {
			t.rungs[i].bad, t.rungs[i].tries, t.rungs[i].demoted = time.Time{}, 0, false
		}
	}
	t.recall(r)
}

func (t *turn) remember() {
	if a := t.serving(); a != nil {
		t.rememberAs(a.transport)
	}
}

// rememberAs keeps what works here and what does not, if there is something to tell.
func (t *turn) rememberAs(good protocol.Transport) {
	kept := note{Net: t.net, Good: good}
	for i := range t.rungs {
		if t.rungs[i].isBad(t.now) {
			kept.Bad = append(kept.Bad, t.rungs[i].transport)
		}
	}
	if t.net != "" && (len(kept.Bad) > 0 || t.preferred != "") {
		t.do(kept)
	}
}

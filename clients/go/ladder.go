package fairlead

import (
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	strikeWindow = 5 * time.Minute // two early deaths within this are not chance
	liveRounds   = 2               // an attachment that dies within so many beats died early
)

// climbs is how long a transport that was found bad is not tried: longer each time.
var climbs = []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}

// A ladder chooses the transport of the next attachment: the best that is not
// known to be bad. A transport is bad only if it failed and another one did
// not: while everything fails, the network is away and nothing is learned. It
// is told what happened and when, and does nothing by itself.
type ladder []*rung // the best first

type rung struct {
	transport protocol.Transport
	tried     bool        // in this round, without success
	suspect   bool        // bad, if another one turns out good
	absent    bool        // the server does not offer it
	bad       int         // how often it was found bad in a row
	until     time.Time   // not before then
	deaths    []time.Time // early ones
}

func newLadder(transports []protocol.Transport) ladder {
	l := make(ladder, len(transports))
	for i, t := range transports {
		l[i] = &rung{transport: t}
	}
	return l
}

// choose returns the transport to try next. It returns false when each was
// tried in vain: that ends the round, and the next call begins another one.
func (l ladder) choose(now time.Time) (protocol.Transport, bool) {
	for _, r := range l {
		if !r.tried && !r.absent && !now.Before(r.until) {
			return r.transport, true
		}
	}
	for _, r := range l { // nothing better works: no grudges
		if !r.tried && !r.absent {
			return r.transport, true
		}
	}
	for _, r := range l {
		r.tried = false
	}
	return "", false
}

// exhausted tells whether the server offers none of the transports.
func (l ladder) exhausted() bool {
	for _, r := range l {
		if !r.absent {
			return false
		}
	}
	return true
}

func (l ladder) rung(t protocol.Transport) *rung {
	for _, r := range l {
		if r.transport == t {
			return r
		}
	}
	return &rung{} // not one of ours: what is noted of it is forgotten
}

// failed notes that t does not serve. If blame, something on the way does not
// let it through; otherwise it may be a passing fault.
func (l ladder) failed(t protocol.Transport, blame bool) {
	r := l.rung(t)
	r.tried = true
	r.suspect = r.suspect || blame
}

// forget drops what this round seemed to tell: the gateway cannot be reached at all.
func (l ladder) forget() {
	for _, r := range l {
		r.tried, r.suspect = false, false
	}
}

// refused notes that the server does not offer t.
func (l ladder) refused(t protocol.Transport) { l.rung(t).absent = true }

// died notes that a proven attachment by t ended uncleanly at that age.
func (l ladder) died(t protocol.Transport, now time.Time, age, beat time.Duration) {
	r := l.rung(t)
	if age >= liveRounds*beat {
		return
	}
	recent := r.deaths[:0]
	for _, at := range r.deaths {
		if now.Sub(at) < strikeWindow {
			recent = append(recent, at)
		}
	}
	r.deaths = append(recent, now)
	if len(r.deaths) >= 2 {
		r.deaths = nil
		l.failed(t, true)
	}
}

// proved notes that t works: whatever is suspect beside it is bad.
func (l ladder) proved(t protocol.Transport, now time.Time) {
	for _, r := range l {
		r.tried = false
		switch {
		case r.transport == t:
			r.suspect, r.bad, r.until = false, 0, time.Time{}
		case r.suspect:
			r.suspect = false
			r.until = now.Add(climbs[min(r.bad, len(climbs)-1)])
			r.bad++
		}
	}
}

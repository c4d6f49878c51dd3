package fairlead

import "time"

// policy is how long the link waits for what.
type policy struct {
	stagger     time.Duration // from a start to the next one's, at least
	hold        time.Duration // before a poll; and before the others, where one is known to be good
	settle      time.Duration // no start this soon after a welcome: its proof is due
	budget      time.Duration // for a welcome, and for a poll's whole answer
	proof       time.Duration // from a welcome to its proof
	doubt       time.Duration // past a beat, before silence is suspicious
	early       int           // who dies within so many beats of its start died early
	strikes     time.Duration // two early deaths within this are not chance
	climbs      []time.Duration
	health      time.Duration // a transport that served this long is good: its climbs begin anew
	base, limit time.Duration // full jitter: a wait is drawn from base, doubling, to limit
	healthy     time.Duration // what an attachment has to last for the waits to begin anew
	fresh       time.Duration // after a loss, no wait is longer than
	freshWait   time.Duration // this
	asked       time.Duration // no server sends a client away for longer
	brief       time.Duration // a goaway to an attachment this young does not hurry the next one
	idle        time.Duration // who is cut after so long in silence was cut for being silent
	floor       time.Duration // the shortest beat to ask for
	ask         time.Duration // into a race that nothing answers, before a ping
	bad         time.Duration // how long a bad transport is tried last
	renewals    time.Duration // from one token to the next, at least, unless one was refused
	revoked     time.Duration // from a revocation to the next token: one that is issued in the same second is revoked as well
}

var defaults = policy{
	stagger: 250 * time.Millisecond, hold: time.Second, settle: 500 * time.Millisecond,
	budget: 10 * time.Second, proof: 1500 * time.Millisecond, doubt: 400 * time.Millisecond,
	early: 2, strikes: 5 * time.Minute,
	climbs: []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}, health: 5 * time.Minute,
	base: paceBase, limit: paceCap, healthy: 30 * time.Second, fresh: 15 * time.Second, freshWait: 700 * time.Millisecond,
	asked: 5 * time.Minute, brief: time.Second,
	idle: 2 * time.Second, floor: 5 * time.Second,
	ask: 1500 * time.Millisecond, bad: badFor, renewals: 2 * time.Second, revoked: tokenRevoked,
}

package fairlead

import (
	"cmp"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A pass is what the link knows of the client's token, which it never sees.
// Tokens are numbered; a greater number is a newer one.
type pass struct {
	needed  bool      // the client has tokens
	number  int       // of the one that attempts begin with; 0: there is none yet
	refused error     // by the server: nothing is begun until there is another; nil: it is good
	taken   bool      // the server took it, or one before it: one that is refused now was revoked, most likely
	again   bool      // another was asked for because of `unauthorized`, and none was taken since
	asking  bool      // for another
	told    bool      // the one who is being asked knows that the last one was refused
	askAt   time.Time // when to ask; zero: it is not planned
	askedAt time.Time // the last time
	hurry   int       // so many times in a row another was needed soon after the last
	expires time.Time // zero: never, or it is not known
}

// barred tells whether there is no token to begin anything with.
func (l *link) barred() bool {
	return l.pass.needed && (l.pass.number == 0 || l.pass.refused != nil)
}

// askForToken asks for the next token.
func (t *turn) askForToken() {
	p := &t.link.pass
	p.asking, p.told, p.askedAt, p.askAt = true, p.refused != nil, t.now, time.Time{}
	t.do(renew{after: p.number, refused: p.told})
}

// planToAsk asks for the next token, not before atLeast: then, if that was not done lately, and
// else after a wait that grows: who gives tokens that are of no use is not asked in a circle.
func (t *turn) planToAsk(atLeast time.Duration) {
	p := &t.link.pass
	if p.asking {
		return
	}
	if t.now.Sub(p.askedAt) >= t.healthy {
		p.hurry = 0
	}
	p.askAt = t.now.Add(atLeast)
	if p.hurry > 0 {
		p.askAt = t.now.Add(atLeast + t.window(p.hurry-1))
	}
	p.hurry++
	if t.isDue(p.askAt) {
		t.askForToken()
	}
}

// window draws a wait from a window that has been doubled so many times.
func (t *turn) window(doubled int) time.Duration {
	return time.Duration(t.random * float64(min(t.policy.limit, t.base<<min(doubled, 16))))
}

// renewed deals with the answer to who was asked for a token.
func (t *turn) renewed(e renewed) {
	p := &t.link.pass
	if !p.asking {
		return
	}
	told, barred := p.told, t.barred()
	p.asking = false
	switch {
	case e.final:
		t.fail(cmp.Or(p.refused, e.err))
	case e.err != nil:
		if t.serving() == nil {
			t.fallen = append(t.fallen, detached{err: e.err})
		}
		p.hurry = max(p.hurry, 1)
		t.planToAsk(0)
	case e.number != p.number:
		p.number, p.refused, p.expires, p.askAt = e.number, nil, time.Time{}, time.Time{}
		t.authorizeAll()
		if barred && t.needed() && !t.racing() {
			t.race(t.order())
		}
	case p.refused == nil: // and so it lives on for a while
		if left := p.expires.Sub(t.now); left > 0 {
			p.askAt = t.now.Add(max(left/2, t.renewals))
		}
	case told && isUnauthorized(p.refused) && t.serving() == nil:
		t.fail(p.refused)
	default:
		t.planToAsk(0)
	}
}

// refuse notes that the server refused the token with that number, and asks for another.
func (t *turn) refuse(number int, err error) {
	p := &t.link.pass
	switch {
	case !p.needed:
		t.fail(err)
		return
	case number != p.number, p.refused != nil: // there is another, or will be
		return
	case !isUnauthorized(err):
	case p.again && t.serving() == nil:
		t.fail(err)
		return
	default:
		p.again = true
	}
	p.refused = err
	t.plan = nil
	t.shut(func(a *attempt) bool { return !a.serves() })
	t.resume, t.pingAt = time.Time{}, time.Time{}
	if isUnauthorized(err) && p.taken {
		t.planToAsk(t.revoked)
	} else {
		t.planToAsk(0)
	}
}

// deny deals with the end of an attempt because of its token, which says nothing of its transport.
func (t *turn) deny(a attempt, e ended) {
	if a.serves() {
		t.thrive(&a)
	}
	t.refuse(e.token, e.err)
	if !t.link.ended && t.needed() && !t.racing() {
		t.race(t.order())
	}
}

// granted notes that the server took a token, and for how long.
func (t *turn) granted(e granted) {
	if a := t.attempt(e.attempt); a != nil {
		a.token = e.token
		if a.authing {
			a.authing, a.authAt = false, time.Time{}
		}
		t.authorize(a)
	}
	p := &t.link.pass
	if e.token != p.number || p.refused != nil || p.asking {
		return
	}
	p.again, p.taken = false, true
	if e.life <= 0 {
		return
	}
	p.expires = t.now.Add(e.life)
	due := t.now.Add(time.Duration((0.75 + t.random/10) * float64(e.life))) // not all clients at once
	p.askAt = earliest(p.askAt, latest(due, p.askedAt.Add(t.renewals)))
}

// authorizeAll gives the attachments the token that there is now.
func (t *turn) authorizeAll() {
	for i := range t.attempts {
		t.authorize(&t.attempts[i])
	}
}

// authorize gives the attachment the token that there is now, unless it has it.
func (t *turn) authorize(a *attempt) {
	switch {
	case a.token == t.pass.number || a.authing || !a.isWelcomed():
	case a.transport == protocol.Poll:
		a.token = t.pass.number // the next request has it
	default:
		a.authing, a.authAt = true, t.now.Add(t.budget)
		t.do(show{attempt: a.number, token: t.pass.number})
	}
}

// reauthorize deals with an attachment that has no answer to its token, or that is to be given it once more.
func (t *turn) reauthorize(a *attempt) {
	late := a.authing
	a.authing, a.authAt = false, time.Time{}
	if late {
		t.quit(a)
		return
	}
	t.authorize(a)
}

// ungranted deals with an attachment that did not get the token. It goes on with the one that it has.
func (t *turn) ungranted(e ungranted) {
	a := t.attempt(e.attempt)
	if a == nil || !a.authing {
		return
	}
	a.authing, a.authAt = false, time.Time{}
	switch e.verdict {
	case rejected:
		t.refuse(e.token, e.err)
	case fatal, forgotten, refused: // this attachment will never have it
		t.quit(a)
	default:
		a.authAt = t.now.Add(max(t.spread(e.wait), t.base+t.window(2)))
	}
}

// quit has another attachment made in place of this one.
func (t *turn) quit(a *attempt) { a.leave = earliest(a.leave, t.now) }

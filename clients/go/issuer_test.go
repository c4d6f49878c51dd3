package fairlead

import (
	"errors"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// issuer plays to a world's link the application that gives tokens, and how the server takes them.
type issuer struct {
	life   time.Duration // of each token, from when it is given; 0: for ever
	grace  time.Duration // that an attachment goes on after that
	after  time.Duration // to the answer
	err    error         // nobody gives any
	fixed  bool          // there is one, and will be no other
	stuck  bool          // it is always the same one
	lost   bool          // auth is not answered
	says   protocol.Code // to auth; empty: what is true
	denies protocol.Code // the server takes no token any more; empty: it does

	given map[int]time.Time // when, by number
	bad   map[int]protocol.Code
	holds map[int]int // tokens, by attempt
	last  int
	asked []time.Time
	auths int
}

// withTokens makes the world one of tokens.
func (w *world) withTokens(i issuer) *world {
	i.given, i.bad, i.holds = map[int]time.Time{}, map[int]protocol.Code{}, map[int]int{}
	w.issuer, w.link = &i, newLink(ladder, true)
	return w
}

// issue answers the link's question for a token.
func (w *world) issue(ask renew) {
	i := w.issuer
	i.asked = append(i.asked, w.now)
	w.in(i.after, func() {
		switch {
		case i.err != nil:
			w.feed(renewed{err: i.err})
			return
		case i.fixed && ask.refused:
			w.feed(renewed{err: errFixed, final: true})
			return
		case i.last == 0, !i.stuck && !i.fixed && i.last <= ask.after:
			i.last++
			i.given[i.last] = w.now
		}
		w.feed(renewed{number: i.last})
	})
}

// hold notes the token that the attempt begins with.
func (w *world) hold(n int) {
	if w.issuer != nil {
		w.issuer.holds[n] = w.link.pass.number
	}
}

func (w *world) tokenOf(n int) int {
	if w.issuer == nil {
		return 0
	}
	return w.issuer.holds[n]
}

// refusalOf is what the server says to a token, or nil.
func (w *world) refusalOf(token int) error {
	i := w.issuer
	code := i.bad[token]
	if i.life > 0 && w.now.Sub(i.given[token]) >= i.life {
		code = protocol.Expired
	}
	if i.denies != "" {
		code = i.denies
	}
	if code == "" {
		return nil
	}
	return &protocol.Error{Code: code, Message: "no"}
}

func (w *world) refusal(n int) error {
	if w.issuer == nil {
		return nil
	}
	return w.refusalOf(w.issuer.holds[n])
}

// grant tells the link how long the attachment's token lasts, and ends the attachment when that is over.
func (w *world) grant(n int) {
	i := w.issuer
	if i == nil {
		return
	}
	token, left := i.holds[n], time.Duration(0)
	if i.life > 0 {
		left = i.given[token].Add(i.life).Sub(w.now)
		w.in(left+i.grace, func() {
			if i.holds[n] == token {
				w.end(n, &protocol.Error{Code: protocol.Expired, Message: "expired"})
			}
		})
	}
	w.feed(granted{attempt: n, token: token, life: left})
	if a := w.link.attempt(n); a != nil && a.transport == protocol.Poll {
		w.repoll(n, token)
	}
}

// repoll plays the next request of a poll, which has the latest token.
func (w *world) repoll(n, token int) {
	w.in(time.Second, func() {
		switch {
		case !w.alive[n] || w.cut || w.down:
		case w.issuer.last == token:
			w.repoll(n, token)
		default:
			w.hold(n)
			if err := w.refusal(n); err != nil {
				w.end(n, err)
			} else {
				w.grant(n)
			}
		}
	})
}

// authorize answers auth.
func (w *world) authorize(e show) {
	i := w.issuer
	i.auths++
	w.in(20*time.Millisecond, func() {
		switch err := w.refusalOf(e.token); {
		case !w.alive[e.attempt] || i.lost:
		case w.cut || w.down:
			w.feed(ungranted{attempt: e.attempt, token: e.token, verdict: away, err: errDial})
		case i.says != "":
			err = &protocol.Error{Code: i.says}
			w.feed(ungranted{attempt: e.attempt, token: e.token, verdict: judge(err, false), err: err})
		case err != nil:
			w.feed(ungranted{attempt: e.attempt, token: e.token, verdict: judge(err, false), err: err})
		default:
			i.holds[e.attempt] = e.token
			w.grant(e.attempt)
		}
	})
}

// revoke makes the tokens that were given no good, and ends what is attached with them.
func (w *world) revoke() {
	for token := range w.issuer.given {
		w.issuer.bad[token] = protocol.Unauthorized
	}
	for n := range w.alive {
		w.in(0, func() { w.end(n, &protocol.Error{Code: protocol.Unauthorized, Message: "revoked"}) })
	}
}

// checkTokens holds the link to what must always be so.
func (w *world) checkTokens() {
	if w.issuer == nil {
		return
	}
	if minute := w.inAMinute(w.issuer.asked); minute > 45 {
		w.fail("%d tokens in a minute", minute)
	}
}

var errIssuer = errors.New("the issuer is away")

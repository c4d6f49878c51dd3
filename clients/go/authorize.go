package fairlead

import (
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// fetched is a token for the subscription, or why there is none.
type fetched struct {
	token *token
	err   error
}

func (s *Subscription) fetchToken(e renew) fetched {
	t, err := s.client.tokens.get(s.life, e.after, e.refused)
	return fetched{t, err}
}

// answered deals with what a request for the link came to.
func (s *Subscription) answered(what any) {
	if g, ok := what.(granted); ok && s.live[g.attempt] != nil {
		s.live[g.attempt].taken(g.token)
	}
	f, ok := what.(fetched)
	if !ok {
		s.happened(what)
		return
	}
	if f.err != nil {
		s.client.log.Info("there is no token", "error", f.err)
	} else {
		s.token = f.token
	}
	s.happened(renewed{number: f.token.id(), err: f.err, final: errors.Is(f.err, errFixed)})
}

// authorize gives an attachment the latest token: in band, or by a request of its own.
func (s *Subscription) authorize(e show) {
	a, t := s.live[e.attempt], s.token
	if a == nil {
		return
	}
	a.shown = t
	if socket, ok := a.from.(*socketSource); ok {
		s.spawn(func() {
			if err := socket.authorize(t); err != nil { // what reads from it finds out, too
				s.client.log.Debug("auth", "error", err)
			}
		})
		return
	}
	session, id := s.session, a.id
	s.ask(func() any {
		r, err := s.client.auth(s.life, session, id, t)
		return authorized(e, r, err)
	})
}

// replied deals with a reply on an attachment: to the token that it was given.
func (s *Subscription) replied(a *attachment, r *reply) {
	var to int
	if json.Unmarshal(r.To, &to) == nil && a.shown != nil && to == a.shown.number {
		if r.err() == nil {
			a.taken(to)
		}
		s.happened(authorized(show{a.number, to}, r, r.err()))
	}
}

// taken tells that the server has taken the token that it was shown. Until then
// whatever ends the attachment is about the one before.
func (a *attachment) taken(number int) {
	if a.shown.id() == number {
		a.token = a.shown
	}
}

// authorized is what the link is told of the answer to auth.
func authorized(e show, r *reply, err error) any {
	if err != nil {
		return ungranted{attempt: e.attempt, token: e.token, verdict: judge(err, false), err: err, wait: askedWait(err)}
	}
	return granted{attempt: e.attempt, token: e.token, life: milliseconds(r.ExpiresIn)}
}

// unsubscribed ends one subscription, and everything if it was the last.
func (s *Subscription) unsubscribed(a *attachment, pattern string, why *protocol.Error) error {
	if s.places[pattern] == nil {
		return nil
	}
	// Of a token that it was shown the server tells this before it answers.
	if a.token != s.token && a.shown != s.token {
		return errStale // another token may allow it
	}
	delete(s.places, pattern)
	s.events = append(s.events, &Unsubscribed{Channel: pattern, Err: why})
	if len(s.places) == 0 {
		s.happened(dismissed{why})
	}
	return nil
}

// untilToken is how long the attachment's next poll may wait at most, so that the one after it has the next token.
func (s *Subscription) untilToken(a *attachment) time.Duration {
	switch p := &s.link.pass; {
	case a.token != s.token: // how long it lasts is told with the answer
		return 0
	case p.asking:
		return pollPause
	case !p.askAt.IsZero():
		return max(time.Until(p.askAt), pollPause)
	default:
		return math.MaxInt64
	}
}

// id is the token's number; 0 for none.
func (t *token) id() int {
	if t == nil {
		return 0
	}
	return t.number
}

package auth

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// MaxRevocations is how many revocations are kept.
const MaxRevocations = 100_000

// A Revocation takes back grants: those of a subject or a session that were
// issued no later than At, or that of one token, or those of all tokens that
// were issued no later than At. Exactly one of the first four is set.
type Revocation struct {
	All     bool      `json:"all,omitempty"`
	Subject string    `json:"sub,omitempty"`
	TokenID string    `json:"jti,omitempty"`
	Session string    `json:"session,omitempty"`
	At      time.Time `json:"at"`
	Until   time.Time `json:"until,omitzero"` // by then all that it takes back has expired; zero: never
}

// Revoked is all that has been taken back. Any number may use it at the same
// time. A nil one holds nothing, and the zero value is ready.
type Revoked struct {
	some atomic.Bool // something was ever added: most of the time nothing was

	mu   sync.RWMutex // guards the following
	kept map[revocationKey]revocationTime
}

type revocationKey struct {
	kind revocationKind
	name string
}

type revocationKind byte

const (
	bySubject revocationKind = iota
	byTokenID
	bySession
	byTime
)

type revocationTime struct{ at, until time.Time }

// isOver tells whether all that was taken back has expired.
func (t revocationTime) isOver(now time.Time) bool { return !t.until.IsZero() && !now.Before(t.until) }

// key is what r takes back; ok is false unless that is exactly one thing.
func (r Revocation) key() (key revocationKey, ok bool) {
	all := []revocationKey{{bySubject, r.Subject}, {byTokenID, r.TokenID}, {bySession, r.Session}, {kind: byTime}}
	if r.All {
		all[3].name = "all"
	}
	for _, k := range all {
		if k.name != "" {
			if ok {
				return key, false
			}
			key, ok = k, true
		}
	}
	return key, ok
}

// Check reports what is wrong with r, or nil.
func (r Revocation) Check() error {
	if _, ok := r.key(); !ok {
		return protocol.Errorf(protocol.BadRequest, "a revocation names exactly one of sub, jti, session and all")
	}
	if !isName(r.Subject) || !isName(r.TokenID) {
		return protocol.Errorf(protocol.BadRequest, "the sub or jti is none that a token here can have: at most %d bytes of text", maxNameBytes)
	}
	if err := protocol.CheckSession(r.Session); err != nil {
		return err
	}
	if r.At.IsZero() {
		return protocol.Errorf(protocol.BadRequest, "the revocation has no time")
	}
	return nil
}

// Takes tells whether r takes back g, used by the session (which may be empty), now.
func (r Revocation) Takes(g *Grant, session string) bool {
	if (revocationTime{r.At, r.Until}).isOver(time.Now()) {
		return false
	}
	switch key, _ := r.key(); key.kind {
	case bySubject:
		return key.name != "" && key.name == g.Subject && !g.Issued.After(r.At)
	case bySession:
		return key.name == session && !g.Issued.After(r.At)
	case byTokenID:
		return key.name == g.TokenID
	default:
		return g.Source == FromToken && !g.Issued.After(r.At)
	}
}

// Add takes back what r says. The same thing taken back twice is taken back by
// the later of both. It fails if r is wrong, or too many are kept.
func (s *Revoked) Add(r Revocation) error {
	if err := r.Check(); err != nil {
		return err
	}
	key, _ := r.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	before, again := s.kept[key]
	if !again && len(s.kept) >= MaxRevocations {
		s.forget(time.Now())
	}
	if !again && len(s.kept) >= MaxRevocations {
		return protocol.Errorf(protocol.Unavailable, "%d revocations are kept, and none of them has ended: let tokens live shorter, or change the key", MaxRevocations)
	}
	if s.kept == nil {
		s.kept = map[revocationKey]revocationTime{}
	}
	s.kept[key] = revocationTime{r.At, r.Until}.with(before, again)
	s.some.Store(true)
	return nil
}

// with is the time that covers both, if there is another.
func (t revocationTime) with(other revocationTime, is bool) revocationTime {
	if !is {
		return t
	}
	if other.at.After(t.at) {
		t.at = other.at
	}
	if other.until.IsZero() || !t.until.IsZero() && other.until.After(t.until) {
		t.until = other.until
	}
	return t
}

// forget drops what can no longer matter. s.mu is held.
func (s *Revoked) forget(now time.Time) {
	maps.DeleteFunc(s.kept, func(_ revocationKey, t revocationTime) bool { return t.isOver(now) })
}

// Len is how many revocations are kept.
func (s *Revoked) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.kept)
}

// Check reports that g, used by the session (which may be empty), was taken
// back, or nil. A grant without a time of issue was issued before anything, and
// counts again when the revocation is over, as another token would. An iat has
// whole seconds, so a token made in the second of the revocation, but after it,
// is taken back with the others: get another a second later.
func (s *Revoked) Check(g *Grant, session string) error {
	if s == nil || !s.some.Load() {
		return nil
	}
	s.mu.RLock()
	taken := s.takes(bySubject, g.Subject, g.Issued) || s.takes(bySession, session, g.Issued) || s.takes(byTokenID, g.TokenID, time.Time{}) ||
		g.Source == FromToken && s.takes(byTime, "all", g.Issued)
	s.mu.RUnlock()
	if taken {
		return refuse("the token was revoked: log in again")
	}
	return nil
}

// takes tells whether what was issued at that time to the name is taken back. s.mu is held.
func (s *Revoked) takes(kind revocationKind, name string, issued time.Time) bool {
	if name == "" {
		return false
	}
	t, found := s.kept[revocationKey{kind, name}]
	return found && !issued.After(t.at) && !t.isOver(time.Now())
}

package fairlead

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func (w *world) wantAsked(least, most int) {
	w.t.Helper()
	if n := len(w.issuer.asked); n < least || n > most {
		w.t.Errorf("%d tokens were asked for, want %d to %d", n, least, most)
	}
}

func TestNothingBeginsBeforeThereIsAToken(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{after: 3 * time.Second})
	w.start(recollection{}).run(10 * time.Second)
	w.want("tried", w.schedule(), "websocket@3000")
	w.want("told", w.told(), "+websocket")
	w.wantAsked(1, 1)
}

func TestATokenIsRenewedAheadOfItsEndWithoutAnotherAttachment(t *testing.T) {
	for i, transport := range ladder {
		ways := []way{denied, denied, denied}
		ways[i] = good
		w := newWorld(t, 1, ways...).withTokens(issuer{life: 100 * time.Second})
		w.start(recollection{}).run(10 * time.Second)
		served := w.link.serving().number
		w.run(750 * time.Second)
		if a := w.link.serving(); a == nil || a.number != served || a.transport != transport {
			t.Errorf("%s: got %+v", transport, a)
		}
		w.wantAsked(9, 12)
		if transport != protocol.Poll && w.issuer.auths != len(w.issuer.asked)-1 {
			t.Errorf("%s: %d tokens, and %d times auth", transport, len(w.issuer.asked), w.issuer.auths)
		}
		for j, at := range w.issuer.asked[1:] {
			if early := at.Sub(w.issuer.asked[j]); early < 75*time.Second || early > 86*time.Second {
				t.Errorf("%s: renewed after %v of 100 s", transport, early)
			}
		}
	}
}

func TestATokenThatExpiresIsReplacedAtOnceAndHeldAgainstNothing(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{life: time.Hour})
	w.start(recollection{}).run(time.Minute)
	w.issuer.bad[1] = protocol.Expired
	begun := w.now
	w.end(w.link.serving().number, &protocol.Error{Code: protocol.Expired})
	w.until(protocol.WebSocket, 400*time.Millisecond)
	w.wantAsked(2, 2)
	for i := range w.link.rungs {
		if r := &w.link.rungs[i]; r.suspect || r.demoted || !r.died.IsZero() || !r.bad.IsZero() {
			t.Errorf("held against it: %+v", r)
		}
	}
	w.want("told", w.told(), "+websocket -websocket +websocket")
	if w.link.failures != 0 {
		t.Errorf("after %v: %d failures", w.now.Sub(begun), w.link.failures)
	}
}

// TestTokensOfNoUseAreNotAskedForInACircle gives tokens that have expired
// already, or live for two seconds: what must be bounded is looked at by the world.
func TestTokensOfNoUseAreNotAskedForInACircle(t *testing.T) {
	for _, life := range []time.Duration{time.Nanosecond, 50 * time.Millisecond, 2 * time.Second} {
		w := newWorld(t, 1, good, good, good).withTokens(issuer{life: life})
		w.start(recollection{}).run(20 * time.Minute)
		if w.issuer.life < time.Second {
			w.wantAsked(20, 150)
		}
		if len(w.opened) > 3*len(w.issuer.asked) {
			t.Errorf("life %v: %d attempts for %d tokens", life, len(w.opened), len(w.issuer.asked))
		}
		w.issuer.life = time.Hour
		w.until(protocol.WebSocket, time.Minute)
	}
}

func TestTheSameTokenIsNotTriedAgain(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{life: 10 * time.Second, stuck: true})
	w.start(recollection{}).run(10 * time.Minute)
	w.want("tried", w.schedule(), "websocket@0")
	w.wantAsked(10, 60)
	w.issuer.stuck = false
	w.until(protocol.WebSocket, 31*time.Second)
}

func TestAnUnauthorizedTokenIsReplacedOnce(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{})
	w.start(recollection{}).run(time.Minute)
	for range 2 { // each time another is taken, which was not issued in the same second
		w.revoke()
		w.run(time.Minute)
	}
	w.want("told", w.told(), "+websocket -websocket +websocket -websocket +websocket")
	w.wantAsked(3, 3)
	w.issuer.denies = protocol.Unauthorized
	w.revoke()
	w.run(time.Minute)
	w.wantAsked(4, 4)
	w.want("told", w.told(), "+websocket -websocket +websocket -websocket +websocket -websocket failed")
	if e, ok := errors.AsType[*protocol.Error](w.failure); !ok || e.Code != protocol.Unauthorized {
		t.Errorf("got %v", w.failure)
	}
}

func TestTheSameTokenOrNoOtherAfterARefusalIsTheEnd(t *testing.T) {
	for name, i := range map[string]issuer{"the same": {stuck: true}, "no other": {fixed: true}} {
		w := newWorld(t, 1, good, good, good).withTokens(i)
		w.start(recollection{}).run(time.Minute)
		w.revoke()
		w.run(3 * time.Second)
		w.want(name, w.told(), "+websocket -websocket failed")
		w.wantAsked(2, 2)
		if !isUnauthorized(w.failure) {
			t.Errorf("%s: got %v", name, w.failure)
		}
	}
	w := newWorld(t, 1, good, good, good).withTokens(issuer{fixed: true, life: time.Minute})
	w.start(recollection{}).run(2 * time.Minute)
	w.want("expired", w.told(), "+websocket -websocket failed")
}

func TestARefusalWithoutTokensIsTheEnd(t *testing.T) {
	no := way{err: &protocol.Error{Code: protocol.Unauthorized}}
	w := newWorld(t, 1, no, no, no).start(recollection{}).run(time.Minute)
	w.want("told", w.told(), "failed")
	no = way{err: &protocol.Error{Code: protocol.Forbidden}}
	w = newWorld(t, 1, no, no, no).withTokens(issuer{}).start(recollection{}).run(time.Minute)
	w.want("told", w.told(), "failed")
	w.wantAsked(1, 1)
}

func TestWithoutATokenTheIssuerIsAskedAgain(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{err: errIssuer})
	w.start(recollection{}).run(time.Minute)
	if len(w.opened) > 0 {
		t.Error("something was attempted")
	}
	w.wantAsked(4, 20)
	w.issuer.err = nil
	w.until(protocol.WebSocket, 31*time.Second)
}

// TestAnAttachmentOutlivesTroubleWithItsNextToken lets everything fail that may when a token is renewed.
func TestAnAttachmentOutlivesTroubleWithItsNextToken(t *testing.T) {
	for name, trouble := range map[string]func(*issuer){
		"no issuer": func(i *issuer) { i.err = errIssuer },
		"denied":    func(i *issuer) { i.denies = protocol.Unauthorized },
	} {
		w := newWorld(t, 1, good, good, good).withTokens(issuer{life: 100 * time.Second, grace: 30 * time.Second})
		w.start(recollection{}).run(70 * time.Second)
		before := *w.issuer
		trouble(w.issuer)
		w.run(25 * time.Second)
		if a := w.link.serving(); a == nil || a.number != 1 {
			t.Fatalf("%s: got %+v", name, w.link)
		}
		w.issuer.err, w.issuer.denies = before.err, before.denies
		w.run(15 * time.Minute)
		if a := w.link.serving(); a == nil || a.number != 1 {
			t.Errorf("%s: got %+v\n%s", name, w.link.attempts, w.told())
		}
	}
}

func TestAnAttachmentThatDoesNotTakeItsNextTokenIsReplacedByAnother(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{life: 100 * time.Second, lost: true})
	w.start(recollection{}).run(98 * time.Second)
	w.want("told", w.told(), "+websocket +websocket") // no gap
	if a := w.link.serving(); a == nil || a.token != 2 {
		t.Errorf("got %+v", w.link)
	}
}

func TestARefusalOfAnOldTokenIsNoNews(t *testing.T) {
	w := newWorld(t, 1, hanging, good, good).withTokens(issuer{life: 8 * time.Second})
	w.start(recollection{}).run(7 * time.Second)
	w.wantAsked(2, 2)
	tried := w.link.attempts[0].number
	if w.link.attempts[0].serves() {
		tried = w.link.attempts[1].number
	}
	w.end(tried, &protocol.Error{Code: protocol.Expired}) // it began with the first
	w.run(100 * time.Millisecond)
	w.wantAsked(2, 2)
	if w.link.barred() || w.serving() != protocol.SSE {
		t.Errorf("got %+v", w.link)
	}
}

// TestTheLinkKeepsItsPromisesWithTokensInEveryWorld is the storm with an issuer
// that is away at times, and tokens that expire, at once at times, or are not
// answered: in the end, when all is well, it must settle as without them.
func TestTheLinkKeepsItsPromisesWithTokensInEveryWorld(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 500
	}
	for seed := range seeds {
		dice := rand.New(rand.NewPCG(seed, 4))
		w := newWorld(t, seed, randomWay(dice), randomWay(dice), randomWay(dice))
		w.withTokens(issuer{life: time.Minute, grace: time.Duration(dice.IntN(3)) * 5 * time.Second, after: time.Duration(dice.IntN(500)) * time.Millisecond})
		w.start(recollection{})
		for range dice.IntN(12) {
			w.run(time.Duration(dice.Int64N(int64(90 * time.Second))))
			switch i := w.issuer; dice.IntN(6) {
			case 0:
				w.leave(dice.IntN(2) == 0)
			case 1:
				w.comeBack()
			case 2:
				i.life = time.Duration(dice.Int64N(int64(time.Duration(1+dice.IntN(100)) * time.Second)))
			case 3:
				i.err, i.stuck, i.lost = nil, dice.IntN(4) == 0, dice.IntN(4) == 0
				if dice.IntN(3) == 0 {
					i.err = errIssuer
				}
			default:
				for _, t := range ladder {
					w.ways[t] = randomWay(dice)
				}
			}
		}
		w.issuer.life, w.issuer.err, w.issuer.stuck, w.issuer.lost = time.Minute, nil, false, false
		best := dice.IntN(len(ladder))
		for i, t := range ladder {
			w.ways[t] = []way{hanging, denied, muted}[dice.IntN(3)]
			if i == best {
				w.ways[t] = good
			}
		}
		w.comeBack()
		clear(w.alive) // whatever there was is dead
		w.run(worldBeat*3/2 + defaults.asked/4)
		if got := w.serving(); got != ladder[best] {
			w.fail("%q serves, want %s", got, ladder[best])
		}
		w.run(10 * time.Minute)
		opens, served := len(w.opened), w.link.serving().number
		w.run(time.Hour)
		if got := w.serving(); got != ladder[best] || len(w.opened)-opens > 12 || w.link.serving().number != served {
			w.fail("%q serves, want %s; %d attempts in an hour", got, ladder[best], len(w.opened)-opens)
		}
	}
}

func TestARefusalEndsWhatElseHasThatToken(t *testing.T) {
	w := newWorld(t, 1, hanging, hanging, hanging).withTokens(issuer{after: time.Second})
	w.start(recollection{}).run(3 * time.Second)
	if len(w.link.attempts) != 3 {
		t.Fatalf("got %+v", w.link.attempts)
	}
	w.issuer.bad[1] = protocol.Expired
	w.end(2, &protocol.Error{Code: protocol.Expired})
	if len(w.link.attempts) != 0 || len(w.link.plan) != 0 {
		t.Errorf("still under way: %+v", w.link)
	}
	if at := w.link.deadline(&defaults); !at.IsZero() {
		t.Errorf("something is to happen at %v before there is a token", at.Sub(w.now))
	}
	w.run(2 * time.Second)
	w.want("tried", w.schedule(), "websocket@1000 sse@1250 poll@2250 websocket@4000 sse@4250")
}

func TestNothingIsClimbedToWithARefusedToken(t *testing.T) {
	w := newWorld(t, 1, denied, good, good).withTokens(issuer{})
	w.start(recollection{}).run(29 * time.Second)
	w.issuer.stuck = true
	opened := len(w.opened)
	w.feed(granted{attempt: w.link.serving().number, token: 1, life: time.Second})
	w.link.pass.refused = &protocol.Error{Code: protocol.Expired} // as a candidate was told
	w.run(10 * time.Second)
	if len(w.opened) != opened {
		t.Error("it was climbed with a token that is no good")
	}
}

// TestWhatIsToldOfAnOldTokenIsNotOfTheNewOne has an old token granted while another is asked for, and after.
func TestWhatIsToldOfAnOldTokenIsNotOfTheNewOne(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{life: 100 * time.Second, after: 5 * time.Second})
	w.start(recollection{}).run(82 * time.Second)
	for !w.link.pass.asking {
		w.run(100 * time.Millisecond)
	}
	w.feed(granted{attempt: 99, token: 1, life: time.Second})
	if !w.link.pass.askAt.IsZero() {
		t.Error("another is planned to be asked for, though one is")
	}
	w.run(6 * time.Second)
	due := w.link.pass.askAt
	if w.feed(granted{attempt: 99, token: 1, life: time.Second}); !w.link.pass.askAt.Equal(due) || due.Sub(w.now) < time.Minute {
		t.Errorf("another is asked for in %v, and not in %v", w.link.pass.askAt.Sub(w.now), due.Sub(w.now))
	}
}

func TestWhoTakesNoNextTokenIsLeftForAnother(t *testing.T) {
	for _, code := range []protocol.Code{protocol.Gone, protocol.Forbidden} { // the attachment has ended; the token is another's
		w := newWorld(t, 1, good, good, good).withTokens(issuer{life: 100 * time.Second, says: code})
		w.start(recollection{}).run(87 * time.Second)
		w.want(string(code), w.told(), "+websocket +websocket") // no gap
		if a := w.link.serving(); a == nil || a.token != 2 || len(w.issuer.asked) != 2 {
			t.Errorf("%s: got %+v", code, w.link)
		}
	}
}

func TestTheCallerIsToldWhenATokenIsAskedForNext(t *testing.T) {
	w := newWorld(t, 1, good, good, good).withTokens(issuer{err: errIssuer})
	var retries []time.Duration
	w.notice = func(effect any) {
		if d, ok := effect.(detached); ok {
			retries = append(retries, d.retry)
			if at := w.link.pass.askAt; !at.Equal(w.now.Add(d.retry)) {
				t.Errorf("told %v, and it is %v", d.retry, at.Sub(w.now))
			}
		}
	}
	w.start(recollection{}).run(10 * time.Second)
	if len(retries) < 3 || retries[2] == 0 {
		t.Errorf("got %v", retries)
	}
}

// What crosses a new token on its way is about the old one, and the new one is still to be tried.
func TestAnEndIsNotBlamedOnATokenThatWasOnlyShown(t *testing.T) {
	a := &attachment{token: &token{number: 1}}
	s := &Subscription{live: map[int]*attachment{0: a}}
	a.shown = &token{number: 2}
	if got := a.token.id(); got != 1 {
		t.Errorf("before the answer it has token %d", got)
	}
	a.taken(1) // an answer to the one before
	if got := a.token.id(); got != 1 {
		t.Errorf("after another's answer it has token %d", got)
	}
	s.live[0].taken(2)
	if got := a.token.id(); got != 2 {
		t.Errorf("after the answer it has token %d", got)
	}
}

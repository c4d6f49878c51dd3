package fairlead

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// schedule says when which transports were tried, in milliseconds.
func (w *world) schedule() string {
	var all []string
	for i, at := range w.opened {
		all = append(all, fmt.Sprintf("%s@%d", w.opens[i], at.Sub(noon).Milliseconds()))
	}
	return strings.Join(all, " ")
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (w *world) told() string { return strings.Join(w.story, " ") }

// until runs until the transport serves, and returns how long that took.
func (w *world) until(t protocol.Transport, limit time.Duration) time.Duration {
	w.t.Helper()
	begun := w.now
	for w.serving() != t {
		if w.now.Sub(begun) > limit {
			w.fail("%s does not serve after %v, but %q", t, limit, w.serving())
		}
		w.run(10 * time.Millisecond)
	}
	return w.now.Sub(begun)
}

func TestTransportsAreTriedOneAfterTheOther(t *testing.T) {
	slow := way{after: 100 * time.Millisecond}
	for _, c := range []struct {
		name string
		ways []way
		want string
	}{
		{"nothing answers", []way{hanging, hanging, hanging}, "websocket@0 sse@250 poll@1250"},
		{"the first works", []way{slow, hanging, hanging}, "websocket@0"},
		{"the next one at once when one fails", []way{denied, denied, good}, "websocket@0 sse@20 poll@40"},
		{"a proof is waited for", []way{muted, hanging, hanging}, "websocket@0 sse@520 poll@1520"},
		{"unwell itself: no other hears better", []way{{err: &protocol.Error{Code: protocol.Unavailable, RetryAfter: time.Minute}}, good, good}, "websocket@0"},
		{"somebody on the way is", []way{{err: &StatusError{Status: 502}}, good, good}, "websocket@0 sse@0"},
	} {
		w := newWorld(t, 1, c.ways...).start(recollection{}).run(5 * time.Second)
		w.want(c.name, w.schedule(), c.want)
	}
}

func TestTheFirstThatIsProvenServesAndABetterOneTakesOver(t *testing.T) {
	late := way{after: 1800 * time.Millisecond}
	for _, c := range []struct {
		name   string
		ways   []way
		within time.Duration
		first  protocol.Transport
		told   string
	}{
		{"all is well", []way{good, good, good}, 300 * time.Millisecond, protocol.WebSocket, "+websocket"},
		{"no upgrade", []way{denied, good, good}, 400 * time.Millisecond, protocol.SSE, "-websocket +sse"},
		{"a mute upgrade", []way{hanging, good, good}, 600 * time.Millisecond, protocol.SSE, "+sse"},
		{"no upgrade, streams held", []way{denied, hanging, good}, 1200 * time.Millisecond, protocol.Poll, "-websocket +poll"},
		{"mute upgrade, streams held", []way{hanging, hanging, good}, 1400 * time.Millisecond, protocol.Poll, "+poll"},
		{"mute after the welcome, streams held", []way{muted, hanging, good}, 2 * time.Second, protocol.Poll, "+websocket -websocket +poll"},
		{"a slow upgrade", []way{late, good, good}, 600 * time.Millisecond, protocol.SSE, "+sse +websocket"},
		{"all slow", []way{late, late, late}, 2200 * time.Millisecond, protocol.WebSocket, "+websocket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, c.ways...).start(recollection{})
			w.until(c.first, c.within)
			for _, a := range w.link.attempts {
				if w.link.rank(a.transport) > w.link.rank(c.first) {
					t.Errorf("%s goes on beside %s", a.transport, c.first)
				}
			}
			w.run(5 * time.Second)
			w.want("told", w.told(), c.told)
		})
	}
}

func TestABetterTransportIsTriedForTenSecondsAndAWorseOneIsDropped(t *testing.T) {
	w := newWorld(t, 1, hanging, good, hanging).start(recollection{}).run(9900 * time.Millisecond)
	if !w.link.isTried(protocol.WebSocket) || len(w.link.attempts) != 2 {
		t.Errorf("under way: %+v", w.link.attempts)
	}
	if w.run(200 * time.Millisecond); len(w.link.attempts) != 1 || !w.link.rung(protocol.WebSocket).isBad(w.now) {
		t.Errorf("after its time: %+v", w.link)
	}
}

func TestSilenceIsSuspectedAndAnotherAttachmentTakesOver(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute + time.Second)
	clear(w.alive) // silently dead; what is new works
	served := w.link.serving().number
	begun := w.now
	if w.untilOther(served); len(w.link.attempts) != 1 {
		t.Errorf("under way: %+v", w.link.attempts)
	}
	if took := w.now.Sub(begun); took > worldBeat+2*time.Second {
		t.Errorf("took %v", took)
	}
	w.want("told", w.told(), "+websocket +websocket")
}

// untilOther runs until another attempt than that one serves.
func (w *world) untilOther(number int) time.Duration {
	begun := w.now
	for a := w.link.serving(); a == nil || a.number == number; a = w.link.serving() {
		if w.run(10 * time.Millisecond); w.now.Sub(begun) > time.Hour {
			w.fail("nothing else serves")
		}
	}
	return w.now.Sub(begun)
}

func TestAnAttachmentThatSpeaksUpAgainKeepsServing(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute)
	served := w.link.serving().number
	w.ways[protocol.WebSocket], w.ways[protocol.SSE], w.ways[protocol.Poll] = hanging, hanging, hanging
	delete(w.alive, served)
	for !w.link.serving().suspect {
		w.run(100 * time.Millisecond)
	}
	w.run(time.Second)
	if len(w.link.attempts) < 3 {
		t.Errorf("nothing else is tried: %+v", w.link.attempts)
	}
	w.alive[served] = true
	w.feed(heard{served, w.now})
	if len(w.link.attempts) != 1 {
		t.Errorf("still under way: %+v", w.link.attempts)
	}
	w.in(worldBeat, func() { w.beats(served, worldBeat) })
	w.run(time.Minute)
	if a := w.link.serving(); a == nil || a.number != served || len(w.link.attempts) != 1 {
		t.Errorf("got %+v", w.link.attempts)
	}
	w.want("told", w.told(), "+websocket")
}

// TestWhoWakesUpDoesNotEndWhatMayBeAlive lets nobody look for ten minutes.
func TestWhoWakesUpDoesNotEndWhatMayBeAlive(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute)
	served := w.link.serving().number
	w.now = w.now.Add(10 * time.Minute)
	delete(w.alive, served) // its beats are there, and are read a moment later
	if w.feed(ticked{}); w.link.serving() == nil || !w.link.serving().suspect {
		t.Fatalf("got %+v", w.link)
	}
	if w.run(defaults.doubt / 2); w.link.serving() == nil {
		t.Fatal("it had no time to speak up")
	}
	w.feed(heard{served, w.now})
	if a := w.link.serving(); a == nil || a.number != served || a.suspect || len(w.link.attempts) != 1 {
		t.Errorf("got %+v", w.link.attempts)
	}
}

func TestAttemptsThatHangAreBegunAnewWhenThereIsAnAnswerAgain(t *testing.T) {
	w := newWorld(t, 1, good, good, good)
	w.leave(false)
	w.start(recollection{}).run(6 * time.Second)
	w.want("told", w.told(), "offline")
	w.comeBack()
	w.until(protocol.WebSocket, 3*time.Second)
}

func TestAServerThatSendsAwayWhoeverComesIsNotAskedInACircle(t *testing.T) {
	w := newWorld(t, 1, way{away: 300 * time.Millisecond}, good, good).start(recollection{}).run(time.Minute)
	w.awayFor, w.opens = -1, nil
	if w.run(10 * time.Minute); len(w.opens) > 60 {
		t.Errorf("%d attempts", len(w.opens))
	}
}

func TestWhatTheServerDoesNotOfferIsNotTried(t *testing.T) {
	w := newWorld(t, 1, hanging, good, good)
	w.offered = []protocol.Transport{protocol.SSE, protocol.Poll}
	w.start(recollection{}).run(3 * time.Hour)
	w.want("tried", w.schedule(), "websocket@0 sse@250")
}

func TestOneAndAHalfBeatsOfSilenceEndAnAttachment(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute)
	heard := w.link.serving().heard
	w.leave(false)
	for w.link.serving() != nil {
		w.run(10 * time.Millisecond)
	}
	if silent := w.now.Sub(heard); silent < worldBeat*3/2 || silent > worldBeat*3/2+20*time.Millisecond {
		t.Errorf("ended after %v", silent)
	}
}

func TestTwoEarlyDeathsDemoteATransportAndOneDoesNot(t *testing.T) {
	dying := way{after: 20 * time.Millisecond, life: 8 * time.Second}
	for _, life := range []time.Duration{8 * time.Second, 25 * time.Second} { // the beats that are asked for get shorter
		dying.life = life
		w := newWorld(t, 1, dying, good, good).start(recollection{})
		w.until(protocol.SSE, 2*time.Minute)
	}
	dying.life = 8 * time.Second
	for _, silent := range []bool{false, true} {
		dying.silent = silent
		w := newWorld(t, 1, dying, good, good).start(recollection{})
		w.until(protocol.SSE, 2*time.Minute)
		if n := strings.Count(w.schedule(), "websocket"); n != 2 {
			t.Errorf("silent: %v: tried %d times before: %s", silent, n, w.schedule())
		}
		if !w.link.rung(protocol.WebSocket).isBad(w.now) {
			t.Errorf("silent: %v: it is not bad", silent)
		}
	}
	w := newWorld(t, 1, dying, good, good).start(recollection{}).run(time.Second)
	w.ways[protocol.WebSocket] = good
	w.run(time.Hour)
	w.want("one death", w.schedule()[:12], "websocket@0 ")
	if w.serving() != protocol.WebSocket || strings.Contains(w.schedule(), "sse") {
		t.Errorf("one death: %s", w.schedule())
	}
}

func TestNothingIsLearnedWhileTheNetworkIsAway(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{})
	for _, visibly := range []bool{true, false, true, true, false} {
		w.run(12 * time.Second) // young, and idle for long enough to blame that
		w.leave(visibly)
		w.run(40 * time.Second)
		w.comeBack()
		w.until(protocol.WebSocket, time.Minute)
	}
	r := w.link.rung(protocol.WebSocket)
	if !r.died.IsZero() || r.demoted || r.isBad(w.now) || w.link.beat != 0 {
		t.Errorf("learned %+v, beat %v", r, w.link.beat)
	}
	if n := strings.Count(w.told(), "offline"); n != 5 {
		t.Errorf("%d times offline: %s", n, w.told())
	}
	w.run(time.Minute)
	if w.serving() != protocol.WebSocket {
		t.Errorf("%s serves", w.serving())
	}
}

func TestWhatTheServerDoesIsNotHeldAgainstATransport(t *testing.T) {
	for name, bad := range map[string]way{
		"502":    {err: &StatusError{Status: 502}},
		"429":    {err: &StatusError{Status: 429}},
		"503":    {err: &protocol.Error{Code: protocol.Unavailable}},
		"goaway": {after: 20 * time.Millisecond, away: 2 * time.Second, life: 4 * time.Second},
	} {
		w := newWorld(t, 1, bad, good, good).start(recollection{}).run(20 * time.Second)
		r := w.link.rung(protocol.WebSocket)
		if r.isBad(w.now) || r.demoted || !r.died.IsZero() {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestGoawayIsFollowedByANewAttachmentBesideTheOld(t *testing.T) {
	w := newWorld(t, 1, way{after: 20 * time.Millisecond, away: 10 * time.Second}, good, good).start(recollection{}).run(5 * time.Second)
	w.ways[protocol.WebSocket] = good
	w.run(20 * time.Second)
	w.want("told", w.told(), "+websocket +websocket")
	if at := w.opened[1].Sub(noon); at < 11*time.Second || at > 11200*time.Millisecond {
		t.Errorf("attached again after %v", at)
	}
}

func TestBetterTransportsAreTriedAgainAfterLongerAndLonger(t *testing.T) {
	w := newWorld(t, 1, denied, good, good).start(recollection{}).run(3 * time.Hour)
	var waits []string
	from := w.opened[1].Add(270 * time.Millisecond) // sse is proven
	for _, at := range w.opened[2:] {
		waits = append(waits, at.Sub(from).Round(time.Second).String())
		from = at
	}
	w.want("waits", strings.Join(waits, " "), "30s 2m0s 10m0s 1h0m0s 1h0m0s")
	w.want("told", w.told(), "-websocket +sse")
}

func TestTheClimbsBeginAnewOnlyAfterFiveMinutesOfHealth(t *testing.T) {
	for _, c := range []struct {
		lasts, next time.Duration
	}{{40 * time.Second, 2 * time.Minute}, {6 * time.Minute, 30 * time.Second}} {
		w := newWorld(t, 1, denied, good, good).start(recollection{}).run(20 * time.Second)
		w.ways[protocol.WebSocket] = way{after: 20 * time.Millisecond, life: c.lasts}
		w.until(protocol.WebSocket, 20*time.Second)
		w.ways[protocol.WebSocket] = denied
		w.until(protocol.SSE, 10*time.Minute)
		tried, proven := len(w.opens), w.now
		for len(w.opens) == tried {
			w.run(10 * time.Millisecond)
		}
		if got := w.now.Sub(proven); (got - c.next).Abs() > 100*time.Millisecond {
			t.Errorf("after %v of service the next climb is after %v, want %v", c.lasts, got, c.next)
		}
	}
}

func TestWhatIsRememberedGoesFirstAndTheOthersAreHeldBack(t *testing.T) {
	here := recollection{Net: "here", Good: protocol.SSE, Bad: []protocol.Transport{protocol.WebSocket}}
	w := newWorld(t, 1, hanging, good, good)
	w.net, w.known["here"] = "here", here
	w.start(here).run(20 * time.Second)
	w.want("good", w.schedule(), "sse@0")
	w = newWorld(t, 1, good, good, good).start(recollection{Net: "here", Good: protocol.SSE}).run(20 * time.Second)
	w.want("good, and others too", w.schedule(), "sse@0")
	w = newWorld(t, 1, hanging, hanging, hanging).start(here).run(8 * time.Second)
	w.want("good no more", w.schedule(), "sse@0 poll@1000 websocket@1250")
	w = newWorld(t, 1, hanging, hanging, hanging).start(recollection{Net: "here", Good: protocol.Poll}).run(8 * time.Second)
	w.want("poll", w.schedule(), "poll@0 websocket@1000 sse@1250")
}

func TestOnAnotherNetworkWhatIsRememberedOfTheLastOneSaysNothing(t *testing.T) {
	w := newWorld(t, 1, good, good, good)
	w.net = "there"
	w.start(recollection{Net: "here", Good: protocol.SSE, Bad: []protocol.Transport{protocol.WebSocket}})
	w.until(protocol.WebSocket, 2*time.Second) // as soon as it is known where we are
	w.want("told", w.told(), "+sse +websocket")
}

func TestOnlyABadTransportBesideAGoodOneIsWorthRemembering(t *testing.T) {
	w := newWorld(t, 1, good, good, good)
	w.net = "here"
	if w.start(recollection{}).run(time.Hour); len(w.noted) != 0 {
		t.Errorf("noted %v", w.noted)
	}
	w = newWorld(t, 1, denied, good, good)
	w.net = "here"
	w.start(recollection{}).run(time.Second)
	want := recollection{Net: "here", Good: protocol.SSE, Bad: []protocol.Transport{protocol.WebSocket}}
	if len(w.noted) != 1 || !reflect.DeepEqual(w.noted[0], want) {
		t.Errorf("noted %v, want %v", w.noted, want)
	}
	w = newWorld(t, 1, hanging, good, good)
	w.net = "here"
	w.start(recollection{}).run(11 * time.Second)
	if len(w.noted) != 1 || !reflect.DeepEqual(w.noted[0], want) {
		t.Errorf("noted %v, want %v", w.noted, want)
	}
	w = newWorld(t, 1, denied, good, good).start(recollection{}).run(time.Second)
	if len(w.noted) != 0 {
		t.Errorf("noted of no network: %v", w.noted)
	}
}

func TestBeatsFollowWhatConnectionsAreCutFor(t *testing.T) {
	for _, c := range []struct {
		life time.Duration
		want time.Duration
	}{{time.Second, 0}, {4 * time.Second, 5 * time.Second}, {14 * time.Second, 6875 * time.Millisecond}} {
		w := newWorld(t, 1, way{after: 20 * time.Millisecond, life: c.life}, denied, denied).start(recollection{})
		for len(w.opens) < 2 {
			w.run(10 * time.Millisecond)
		}
		if w.lastBeat != c.want { // idle since the proof
			t.Errorf("cut after %v, the next beat asked for is %v, want %v", c.life, w.lastBeat, c.want)
		}
	}
}

func TestWaitsAreShortAfterALossAndGrowLater(t *testing.T) {
	w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute)
	w.leave(true)
	gone := w.now
	pings := 0
	for w.now.Sub(gone) < 15*time.Second {
		before := w.link.pinging
		w.run(time.Millisecond)
		if w.link.pinging && !before {
			pings++
		}
	}
	if pings < 15000/700 {
		t.Errorf("%d pings in the first seconds", pings)
	}
	opens := len(w.opens)
	if w.link.failures > 3 {
		t.Errorf("%d failures: the next wait may be long", w.link.failures)
	}
	if opens > 5 {
		t.Errorf("%d attempts where a ping would do", opens)
	}
	w.run(time.Hour)
	if n := (len(w.opens) - opens) / 3; n < 120 || n > 600 { // about every 15 s
		t.Errorf("%d races in an hour", n)
	}
	w.run(7 * time.Second)
	w.comeBack()
	w.until(protocol.WebSocket, paceCap+time.Second)
	w.run(40 * time.Second)
	if w.feed(ended{attempt: w.link.serving().number, verdict: lost, err: errSilent}); w.link.resume.Sub(w.now) > paceBase {
		t.Errorf("after a healthy life the wait is %v", w.link.resume.Sub(w.now))
	}
	if w.link.failures != 1 {
		t.Errorf("after a healthy life %d failures", w.link.failures)
	}
}

func TestWhatTheServerAsksForIsKeptWithinBounds(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{7 * time.Second: 7 * time.Second, time.Hour: 5 * time.Minute} {
		w := newWorld(t, 1, way{err: &protocol.Error{Code: protocol.Unavailable, RetryAfter: asked}}, good, good).start(recollection{})
		for len(w.opens) < 2 {
			w.run(10 * time.Millisecond)
		}
		if got := w.now.Sub(noon); got < want+want/1000 || got > want*11/10+20*time.Millisecond {
			t.Errorf("asked for %v, waited %v", asked, got)
		}
	}
}

func TestAReturnOfTheNetworkIsNoticedAtOnce(t *testing.T) {
	for _, visibly := range []bool{true, false} {
		w := newWorld(t, 1, good, good, good).start(recollection{}).run(time.Minute)
		w.leave(visibly)
		for w.link.serving() != nil {
			w.run(10 * time.Millisecond)
		}
		if w.run(pingLimit + 500*time.Millisecond); !strings.Contains(w.told(), "offline") {
			t.Errorf("visibly: %v: nobody is told: %s", visibly, w.told())
		}
		w.run(2500 * time.Millisecond)
		w.comeBack()
		limit := time.Second // of waits, and the proof
		if !visibly {
			limit += pingLimit
		}
		if took := w.until(protocol.WebSocket, time.Minute); took > limit {
			t.Errorf("visibly: %v: took %v", visibly, took)
		}
	}
}

func TestWhatWillNeverBeServedEndsTheLink(t *testing.T) {
	w := newWorld(t, 1, way{err: &protocol.Error{Code: protocol.BadRequest}}, good, good).start(recollection{}).run(time.Minute)
	w.want("told", w.told(), "failed")
	absent := way{err: &protocol.Error{Code: "not_acceptable"}}
	w = newWorld(t, 1, absent, absent, absent).start(recollection{}).run(time.Minute)
	w.want("told", w.told(), "-websocket -sse failed")
	w = newWorld(t, 1, absent, good, absent).start(recollection{}).run(5 * time.Hour)
	w.want("tried", w.schedule()[:15], "websocket@0 sse")
}

// TestAStepLeavesTheLinkAsItWas is what makes it a value.
func TestAStepLeavesTheLinkAsItWas(t *testing.T) {
	w := newWorld(t, 1, denied, good, hanging).start(recollection{}).run(10 * time.Minute)
	for _, e := range []any{
		ticked{}, started{}, proved{w.link.begun}, heard{w.link.begun, w.now}, sentAway{w.link.serving().number, time.Second},
		ended{attempt: w.link.serving().number, err: errSilent}, ponged{}, welcomed{attempt: 99},
	} {
		before := w.link
		before.attempts, before.rungs, before.plan = slices.Clone(before.attempts), slices.Clone(before.rungs), slices.Clone(before.plan)
		at := moment{w.now.Add(time.Hour), 0.5}
		one, did := step(&defaults, w.link, at, e)
		two, didToo := step(&defaults, w.link, at, e)
		if !reflect.DeepEqual(w.link, before) {
			t.Errorf("%T changed the link", e)
		}
		if !reflect.DeepEqual(one, two) || !reflect.DeepEqual(did, didToo) {
			t.Errorf("%T: the same step came out differently", e)
		}
	}
}

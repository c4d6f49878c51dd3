package fairlead

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// noon is a time for tests of decisions, which have no clock.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func autoLadder() ladder {
	return newLadder([]protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Poll})
}

func wantChoice(t *testing.T, l ladder, now time.Time, want protocol.Transport) {
	t.Helper()
	if got, _ := l.choose(now); got != want {
		t.Errorf("chose %q, want %q", got, want)
	}
}

func TestWhatFailsWhileAnotherWorksIsAvoidedForLongerEachTime(t *testing.T) {
	l, now := autoLadder(), noon
	for _, avoided := range append(climbs, time.Hour) {
		wantChoice(t, l, now, protocol.WebSocket)
		l.failed(protocol.WebSocket, true)
		wantChoice(t, l, now, protocol.SSE)
		l.proved(protocol.SSE, now)
		wantChoice(t, l, now.Add(avoided-1), protocol.SSE)
		now = now.Add(avoided)
	}
	l.proved(protocol.WebSocket, now)
	l.failed(protocol.WebSocket, true)
	l.proved(protocol.SSE, now)
	wantChoice(t, l, now.Add(climbs[0]), protocol.WebSocket)
}

func TestWhileEverythingFailsNothingIsLearned(t *testing.T) {
	l := autoLadder()
	for range 3 {
		for _, want := range []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Poll} {
			wantChoice(t, l, noon, want)
			l.failed(want, true)
		}
		if got, ok := l.choose(noon); ok {
			t.Fatalf("chose %s, want the end of the round", got)
		}
	}
	l.forget() // the network went away in the middle of it
	wantChoice(t, l, noon, protocol.WebSocket)
	l.failed(protocol.WebSocket, true)
	l.forget()
	l.proved(protocol.SSE, noon)
	wantChoice(t, l, noon, protocol.WebSocket)
}

func TestAPassingFaultIsNotHeldAgainstATransport(t *testing.T) {
	l := autoLadder()
	l.failed(protocol.WebSocket, false)
	wantChoice(t, l, noon, protocol.SSE)
	l.proved(protocol.SSE, noon)
	wantChoice(t, l, noon, protocol.WebSocket)
}

func TestAnAvoidedTransportIsBetterThanNone(t *testing.T) {
	l := autoLadder()
	l.failed(protocol.WebSocket, true)
	l.proved(protocol.SSE, noon)
	l.failed(protocol.SSE, true)
	l.failed(protocol.Poll, true)
	wantChoice(t, l, noon, protocol.WebSocket)
}

func TestTwoEarlyDeathsInFiveMinutesDemote(t *testing.T) {
	const beat = 15 * time.Second
	for _, c := range []struct {
		name      string
		age, then time.Duration
		want      protocol.Transport
	}{
		{"both early", 2*beat - 1, strikeWindow - 1, protocol.SSE},
		{"old enough", 2 * beat, time.Second, protocol.WebSocket},
		{"long ago", time.Second, strikeWindow, protocol.WebSocket},
	} {
		l := autoLadder()
		l.died(protocol.WebSocket, noon, c.age, beat)
		wantChoice(t, l, noon, protocol.WebSocket)
		l.died(protocol.WebSocket, noon.Add(c.then), c.age, beat)
		if got, _ := l.choose(noon.Add(c.then)); got != c.want {
			t.Errorf("%s: chose %s, want %s", c.name, got, c.want)
		}
	}
}

func TestALadderWithoutRungsIsExhausted(t *testing.T) {
	l := autoLadder()
	for _, r := range l {
		if l.exhausted() {
			t.Error("exhausted too early")
		}
		l.refused(r.transport)
	}
	if _, ok := l.choose(noon); ok || !l.exhausted() {
		t.Error("chose what is not offered")
	}
}

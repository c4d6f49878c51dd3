package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// over runs f for each transport, in a bubble.
func over(t *testing.T, f func(t *testing.T, transport protocol.Transport), transports ...protocol.Transport) {
	if len(transports) == 0 {
		transports = protocol.Transports()
	}
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, transport) })
		})
	}
}

// streams are the transports that last.
var streams = []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Stream}

// PROTOCOL.md 2.1.
func TestWelcomeTellsEverythingThatAClientNeeds(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		first := w.publish("a", 1)
		second := w.publish("b.1", 2)
		l := w.attach(transport, `{"channels":{"a":{"after":"0"},"b.*":{"last":1},"c":{},"d":{"after":"`+first+`"}}}`)
		f := l.welcome
		if f.Session == "" || f.ID != second || f.Beat != 15_000 {
			t.Errorf("session %q, id %q, beat %d: want a session, %s and 15000", f.Session, f.ID, f.Beat, second)
		}
		if (f.Attachment == "") != (transport == protocol.Poll) {
			t.Errorf("the attachment is %q", f.Attachment)
		}
		equal(t, "transports", f.Transports, []string{"websocket", "sse", "stream", "poll"})
		if want := (protocol.Limits{Frame: 256 << 10, Channels: 1000, History: 1000, Wait: 55}); f.Limits != want {
			t.Errorf("limits: got %+v, want %+v", f.Limits, want)
		}
		for name, want := range map[string]string{"a": "0", "b.*": first, "c": second, "d": first} {
			if got := f.Channels[name].After; got != want {
				t.Errorf("%s is served after %q, want %q", name, got, want)
			}
		}
		if len(f.Channels) != 4 {
			t.Errorf("channels: %v", f.Channels)
		}
	})
}

func TestResumeByCursorLosesAndRepeatsNothing(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1, 2, 3)
		hello := func(after string) string { return `{"channels":{"a":{"after":"` + after + `"}}}` }
		l := w.attach(transport, hello("0"))
		equal(t, "from the earliest", l.collect(3), []string{"1", "2", "3"})
		w.publish("a", 4)
		w.publish("other", "no")
		equal(t, "live", l.collect(1), []string{"4"})
		l.hangUp()
		w.publish("a", 5, 6)

		l = w.attach(transport, hello(l.cursor))
		w.publish("a", 7)
		equal(t, "after the break", l.collect(3), []string{"5", "6", "7"})
	})
}

// PROTOCOL.md 3: GET, and what a reconnecting EventSource says of its place.
func TestLastEventIDTakesThePlaceOfAfterAndLast(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		first := w.publish("a", 1)
		w.publish("a", 2)
		third := w.publish("b.x", 3)
		w.publish("a", 4)
		for _, c := range []struct {
			query, headers string
			want           []string
		}{
			{"channel=a&after=0", "", []string{"1", "2", "4"}},
			{"channel=a&channel=b.*&last=2", "", []string{"1", "2", "3", "4"}[1:]},
			{"channel=a&after=" + first, "", []string{"2", "4"}},
			{"channel=a&after=0", "Last-Event-ID: " + first, []string{"2", "4"}},
			{"channel=a&last=3", "Last-Event-ID: " + third, []string{"4"}},
			{"channel=a&after=0&lastEventId=" + third, "", []string{"4"}},
			{"channel=a&last=3&last_event_id=" + third, "", []string{"4"}},
			{"channel=a&after=0&last=3&lastEventId=" + third, "", []string{"4"}},
			{"channel=a&lastEventId=0", "Last-Event-ID: " + third, []string{"4"}},
		} {
			l := w.openGet(transport, c.query, c.headers)
			l.want("welcome")
			equal(t, c.query+" "+c.headers, l.collect(len(c.want)), c.want)
			l.hangUp()
		}
	})
}

// PROTOCOL.md 2.1: proof, and beats at the interval, whatever else is sent, with the watermark.
func TestProofFollowsWelcomeAndBeatsMoveTheCursor(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		began := time.Now()
		since := func() time.Duration { return time.Since(began) }
		if f := l.next(); f.Op != "proof" || since() != 250*time.Millisecond {
			t.Errorf("got %s after %v, want a proof after 250ms", f, since())
		}
		elsewhere := w.publish("other", 1)
		if f := l.next(); f.Op != "beat" || f.ID != elsewhere || since() != 15*time.Second {
			t.Errorf("got %s after %v, want a beat with %s after 15s", f, since(), elsewhere)
		}
		time.Sleep(10 * time.Second)
		id := w.publish("a", 2)
		if f := l.next(); f.Op != "message" || since() != 25*time.Second {
			t.Errorf("got %s after %v, want the message", f, since())
		}
		if f := l.next(); f.Op != "beat" || f.ID != id || since() != 30*time.Second {
			t.Errorf("got %s after %v, want a beat 15s after the last one", f, since())
		}
	}, streams...)
}

func TestBeatIsGrantedWithinBounds(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Beat: 20 * time.Second}, broker.Options{})
		for asked, want := range map[string]int64{"1": 5000, "5000": 5000, "7500": 7500, "60000": 60000, "60001": 60000, "9223372036854775807": 60000, "0": 20000} {
			l := w.attach(transport, `{"beat":`+asked+`,"channels":{"a":{}}}`)
			if l.welcome.Beat != want {
				t.Errorf("asked for %s ms: got %d, want %d", asked, l.welcome.Beat, want)
			}
			if transport != protocol.Poll {
				began := time.Now()
				l.want("proof")
				if l.want("beat"); time.Since(began) != time.Duration(want)*time.Millisecond {
					t.Errorf("asked for %s ms: the beat came after %v", asked, time.Since(began))
				}
			}
			l.hangUp()
			g := w.openGet(transport, "channel=a&beat="+asked, "")
			if f := g.want("welcome"); f.Beat != want {
				t.Errorf("asked for %s ms in the URL: got %d, want %d", asked, f.Beat, want)
			}
			g.hangUp()
		}
	})
}

// DESIGN.md, promise 5: any transport, any time.
func TestACursorMovesBetweenTransports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		var got, want []string
		cursor := "0"
		for i, transport := range slices.Concat(protocol.Transports(), protocol.Transports()) {
			w.publish("a", 2*i, 2*i+1)
			l := w.attach(transport, `{"channels":{"a":{"after":"`+cursor+`"}}}`)
			got = append(got, l.collect(2)...)
			want = append(want, fmt.Sprint(2*i), fmt.Sprint(2*i+1))
			cursor = l.cursor
			l.hangUp()
		}
		equal(t, "over all transports in turn", got, want)
	})
}

func TestASecondAttachOfASessionAddsAnAttachment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		var links []*link
		seen := map[string]bool{}
		for _, transport := range streams {
			l := w.attach(transport, `{"session":"tab-1","channels":{"a":{}}}`)
			if l.welcome.Session != "tab-1" || seen[l.welcome.Attachment] {
				t.Errorf("%s: session %q, attachment %q of %v", transport, l.welcome.Session, l.welcome.Attachment, seen)
			}
			seen[l.welcome.Attachment] = true
			links = append(links, l)
		}
		w.publish("a", 1)
		for _, l := range links {
			equal(t, string(l.transport), l.collect(1), []string{"1"})
		}
	})
}

func TestAGapStandsInPlaceOfWhatIsMissing(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1, 2)
		purged := w.call(request{method: "DELETE", path: "/v1/channels/a/messages"}).ID
		last := w.publish("a", 3)
		future := w.broker.Epoch() + "-900"
		for after, want := range map[string][]string{
			"0":       {fmt.Sprintf("gap purged a 0..%q", purged), "3"},
			"other-7": {fmt.Sprintf("gap replaced a other-7..%q", w.broker.Epoch()+"-0"), fmt.Sprintf("gap purged a 0..%q", purged), "3"},
			future:    {fmt.Sprintf("gap ahead a %s..%q", future, last)},
		} {
			l := w.attach(transport, `{"channels":{"a":{"after":"`+after+`"}}}`)
			equal(t, "after "+after, l.collect(len(want)), want)
			l.hangUp()
		}
	})
}

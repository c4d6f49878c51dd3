package gateway

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// PROTOCOL.md 2.2: both ways of an attachment are tried in one round trip.
func TestABeatComesWhenItIsAskedFor(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		head := w.publish("other", 1)
		time.Sleep(4 * time.Second)
		began := time.Now()
		since := func() time.Duration { return time.Since(began) }
		var got []string
		if transport == protocol.WebSocket {
			l.sendText(`{"op":"beat","cid":"b"}`)
		} else if f := w.commands(l, `{"op":"beat","cid":"b"}`)[0]; !f.OK || string(f.To) != `"b"` {
			t.Errorf("the reply is %+v", f)
		} else {
			got = append(got, "reply")
		}
		for len(got) < 2 {
			f := l.next()
			got = append(got, f.Op)
			if f.Op == "beat" && f.ID != head || f.Op == "reply" && !f.OK || since() != 0 {
				t.Errorf("got %s after %v", f.raw, since())
			}
		}
		if s := strings.Join(got, " "); s != "reply beat" && s != "beat reply" {
			t.Errorf("got %s, want a reply and a beat", s)
		}
		if f := l.next(); f.Op != "beat" || since() != 15*time.Second {
			t.Errorf("got %s after %v, want the next beat an interval after the last", f, since())
		}
	}, streams...)
}

// A command without cid is not answered, but the beat comes; and it comes before the proof too.
func TestABeatIsAskedForWithoutCID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
		l.sendText(`{"op":"beat"}`)
		equal(t, "what comes", []string{l.next().Op, l.next().Op}, []string{"beat", "proof"})
	})
}

func TestABeatStandsBehindWhatItVouchesFor(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		last := ""
		for range 60 { // more than is written at a time
			last = w.publish("a", strings.Repeat("x", 2000))
		}
		if transport == protocol.WebSocket {
			l.sendText(`{"op":"beat"}`)
		} else {
			w.commands(l, `{"op":"beat"}`)
		}
		seen := l.welcome.ID
		for seen != last {
			switch f := l.next(); f.Op {
			case "message":
				seen = f.ID
			case "beat":
				if f.ID != seen {
					t.Fatalf("a beat says %s when %s was sent", f.ID, seen)
				}
			}
		}
	}, streams...)
}

// A client that asks for many and reads none is owed no more than one.
func TestBeatsThatNobodyReadsAreOne(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		l.want("proof")
		for range 50 {
			if transport == protocol.WebSocket {
				l.sendText(`{"op":"beat"}`)
			} else {
				w.commands(l, `{"op":"beat"}`)
			}
		}
		synctest.Wait()
		began, beats := time.Now(), 0
		for l.want("beat"); time.Since(began) < 15*time.Second; l.want("beat") {
			beats++
		}
		if beats < 1 || beats > 2 { // one was being written already
			t.Errorf("50 commands made %d beats", beats)
		}
	}, streams...)
}

func TestABeatNeedsAnAttachment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.SSE, `{"session":"mine","channels":{"a":{}}}`)
		ask := func(session, attachment string) frame {
			return w.commands(&link{welcome: frame{Session: session, Attachment: attachment}}, `{"op":"beat","cid":1}`)[0]
		}
		ask("mine", "").wantError(t, "a poll's", protocol.BadRequest)
		ask("yours", l.welcome.Attachment).wantError(t, "another session's", protocol.Gone)
		ask("mine", w.broker.Node()+".99").wantError(t, "an ended attachment's", protocol.Gone)
	})
}

func TestABeatIsAskedForOnAnotherNode(t *testing.T) {
	url := startNATS(t)
	near := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	far := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{Beat: time.Hour})
	for _, transport := range streams {
		l := far.attach(transport, `{"session":"s","channels":{"a":{}}}`)
		if f := near.commands(l, `{"op":"beat","cid":"c"}`)[0]; !f.OK || string(f.To) != `"c"` {
			t.Errorf("%s: the reply is %+v", transport, f)
		}
		l.want("beat") // which would not come for an hour
		l.hangUp()
	}
}

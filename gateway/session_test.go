package gateway

import (
	"fmt"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// twoOfOne are two attachments of one session while a client switches.
type twoOfOne struct {
	t        *testing.T
	old, new *link
}

func attachTwo(t *testing.T, oldWorld, newWorld *world, from, to protocol.Transport) twoOfOne {
	t.Helper()
	start := oldWorld.publish("start", 0) // which the other node may not have followed yet
	hello := `{"session":"s","channels":{"a":{"after":"` + start + `"}}}`
	two := twoOfOne{t, oldWorld.attach(from, hello), newWorld.attach(to, hello)}
	if two.old.welcome.Session != "s" || two.new.welcome.Session != "s" || two.old.welcome.Attachment == two.new.welcome.Attachment {
		t.Errorf("attached as %+v and %+v", two.old.welcome, two.new.welcome)
	}
	return two
}

// publish sends a message up by one of them.
func (two twoOfOne) publish(by *link, data string) {
	two.t.Helper()
	command := `{"op":"publish","channel":"a","data":` + data + `}`
	if by.transport == protocol.WebSocket {
		by.sendText(command)
	} else if f := by.w.commands(by, command)[0]; !f.OK {
		two.t.Errorf("publish by %s: got %+v", by.transport, f)
	}
}

// bothSee checks that both attachments are sent these messages next.
func (two twoOfOne) bothSee(what string, messages ...string) {
	two.t.Helper()
	for _, l := range []*link{two.old, two.new} {
		equal(two.t, what+": "+string(l.transport), l.collect(len(messages)), messages)
	}
}

// attached is what /metrics counts of a transport.
func attached(w *world, t protocol.Transport) float64 {
	return w.metrics()[fmt.Sprintf(`fairlead_attachments{transport="%s"}`, t)]
}

// check goes through a switch: both serve, either takes commands for either, and the end of one is its own.
func (two twoOfOne) check() {
	t, old, new := two.t, two.old, two.new
	t.Helper()
	for _, l := range []*link{old, new} {
		if n := attached(l.w, l.transport); n != 1 {
			t.Errorf("%v attachments over %s are counted, want 1", n, l.transport)
		}
	}
	two.publish(old, "1")
	two.bothSee("published by the old one", "1")
	two.publish(new, "2")
	two.bothSee("published by the new one", "2")

	// By a request to the other's node, for one of them alone.
	if f := new.w.commands(old, `{"op":"subscribe","channel":"b"}`)[0]; !f.OK {
		t.Errorf("subscribe the old one at the new one's node: got %+v", f)
	}
	old.want("subscribed")
	if f := old.w.commands(new, `{"op":"subscribe","channel":"c"}`)[0]; !f.OK {
		t.Errorf("subscribe the new one at the old one's node: got %+v", f)
	}
	new.want("subscribed")
	for _, channel := range []string{"b", "c", "a"} {
		old.w.publish(channel, `"on `+channel+`"`)
	}
	equal(t, "the old one", old.collect(2), []string{`"on b"`, `"on a"`})
	equal(t, "the new one", new.collect(2), []string{`"on c"`, `"on a"`})

	if f := new.w.commands(old, `{"op":"bye"}`)[0]; !f.OK {
		t.Errorf("end the old one at the new one's node: got %+v", f)
	}
	if old.transport == protocol.WebSocket {
		old.wantClose(1000)
	} else if err := old.wantEnd(); !isEnd(err) {
		t.Errorf("the old one's end: got %v", err)
	}
	new.w.commands(old, `{"op":"beat"}`)[0].wantError(t, "to the old one", protocol.Gone)
	two.publish(new, "3")
	equal(t, "the new one goes on", new.collect(1), []string{"3"})
	if o, n := attached(old.w, old.transport), attached(new.w, new.transport); o != 0 || n != 1 {
		t.Errorf("%v and %v attachments are counted, want 0 and 1", o, n)
	}
}

// switches are the ways from one transport that lasts to another.
func switches(f func(from, to protocol.Transport)) {
	for _, from := range streams {
		for _, to := range streams {
			if from != to {
				f(from, to)
			}
		}
	}
}

func TestTwoAttachmentsOfASessionServeSideBySide(t *testing.T) {
	switches(func(from, to protocol.Transport) {
		t.Run(string(from+" to "+to), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				attachTwo(t, w, w, from, to).check()
			})
		})
	})
}

func TestTwoAttachmentsOfASessionServeSideBySideOnTwoNodes(t *testing.T) {
	url := startNATS(t)
	one := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	other := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	switches(func(from, to protocol.Transport) {
		t.Run(string(from+" to "+to), func(t *testing.T) {
			two := attachTwo(t, one, other, from, to)
			two.check()
			two.new.command(`{"op":"bye","cid":1}`) // counted no more when it has ended
			if two.new.transport == protocol.WebSocket {
				two.new.wantClose(1000)
			} else if err := two.new.wantEnd(); !isEnd(err) {
				t.Error(err)
			}
		})
	})
}

// A connection that breaks takes no other of its session with it.
func TestAnAttachmentThatBreaksLeavesTheOther(t *testing.T) {
	switches(func(from, to protocol.Transport) {
		t.Run(string(from+" to "+to), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				two := attachTwo(t, w, w, from, to)
				two.old.hangUp()
				w.publish("a", 1)
				equal(t, "the other", two.new.collect(1), []string{"1"})
				if n := attached(w, from); n != 0 {
					t.Errorf("%v attachments over %s are counted", n, from)
				}
			})
		})
	})
}

// A poll is no attachment, but may run beside one.
func TestAPollServesBesideAnAttachmentOfItsSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, transport := range streams {
			l := w.attach(transport, `{"session":"s","channels":{"a":{}}}`)
			w.publish("a", 1, 2)
			polled := w.call(polling("channel=a&wait=0&after=" + l.welcome.ID))
			got := l.collect(2)
			for i, raw := range polled.Frames {
				got[i] = got[i] + " " + parseFrame(t, raw).String()
			}
			equal(t, string(transport)+" and poll", got, []string{"1 1", "2 2"})
			l.hangUp()
		}
	})
}

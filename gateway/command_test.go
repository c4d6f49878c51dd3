package gateway

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// commands sends commands for an attachment over HTTP.
func (w *world) commands(l *link, commands ...string) []frame {
	w.t.Helper()
	a := w.call(request{method: "POST", path: "/v1/commands", body: `{"session":"` + l.welcome.Session + `","attachment":"` + l.welcome.Attachment + `","commands":[` + strings.Join(commands, ",") + `]}`})
	if a.status != 200 || len(a.Replies) != len(commands) {
		w.t.Fatalf("commands: got %d %s", a.status, a.body)
	}
	return a.Replies
}

// command sends one command by the way of its transport and returns the reply.
func (l *link) command(command string) frame {
	l.w.t.Helper()
	if l.transport != protocol.WebSocket {
		return l.w.commands(l, command)[0]
	}
	l.sendText(command)
	return l.want("reply")
}

// wantError checks that a reply is an error with that code.
func (f frame) wantError(t testing.TB, what string, code protocol.Code) {
	t.Helper()
	if f.OK || f.Error.Code != string(code) || f.Error.Message == "" {
		t.Errorf("%s: got ok %v, error %+v, want %s", what, f.OK, f.Error, code)
	}
}

// PROTOCOL.md 2.2 and 4.1.
func TestCommandsAreAnsweredOverWebSocketAndHTTP(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{}}`)
		published := l.command(`{"op":"publish","cid":"c1","channel":"a","type":"x","data":{"n":1},"key":"k"}`)
		if string(published.To) != `"c1"` || !published.OK || published.ID == "" || published.Duplicate {
			t.Errorf("publish: got %+v", published)
		}
		again := l.command(`{"op":"publish","cid":2,"channel":"a","data":"other","key":"k"}`)
		if string(again.To) != "2" || !again.OK || again.ID != published.ID || !again.Duplicate {
			t.Errorf("the same key: got %+v, want the id %s as a duplicate", again, published.ID)
		}
		w.publish("a", 2, 3)
		page := l.command(`{"op":"history","cid":3,"channel":"a","limit":2}`)
		if len(page.Messages) != 2 || string(page.Messages[0].Data) != `{"n":1}` || page.Messages[0].Type != "x" || page.Next == "" {
			t.Errorf("history: got %+v", page)
		}
		if ping := l.command(`{"op":"ping","cid":4}`); ping.ID != w.broker.Head().String() || ping.Time != time.Now().UnixMilli() {
			t.Errorf("ping: got %+v", ping)
		}
		l.command(`{"op":"history","cid":5,"channel":"a","limit":1001}`).wantError(t, "a page over the limit", protocol.BadRequest)
		l.command(`{"op":"history","cid":5,"channel":"a","after":"0","last":3}`).wantError(t, "after and last", protocol.BadRequest)
		l.command(`{"op":"dance","cid":6}`).wantError(t, "an unknown op", protocol.BadRequest)
		l.command(`{"cid":6}`).wantError(t, "no op", protocol.BadRequest)
		l.command(`{"op":"hello","cid":6}`).wantError(t, "a second hello", protocol.BadRequest)
		l.command(`{"op":"publish","cid":7,"channel":"a.*","data":1}`).wantError(t, "publish to a pattern", protocol.BadRequest)
		l.command(`{"op":"subscribe","cid":8,"channel":"a..b"}`).wantError(t, "an empty token", protocol.BadRequest)
		if f := l.command(`{"op":"ping","cid":{"a":1}}`); string(f.To) != "null" || f.Error.Code != "bad_request" {
			t.Errorf("a cid that is none: got %+v", f)
		}
	}, protocol.WebSocket, protocol.SSE)
}

func TestSubscribedStandsBeforeWhatItAnnounces(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		for _, tail := range []int{1 << 20, 1} {
			w := newWorld(t, Options{}, broker.Options{TailBytes: tail})
			first := w.publish("b", 1)
			w.publish("b", 2)
			l := w.attach(transport, `{"channels":{"a":{}}}`)
			l.want("proof")
			if transport == protocol.WebSocket {
				l.sendText(`{"op":"subscribe","channel":"b","after":"` + first + `"}`)
			} else if f := l.command(`{"op":"subscribe","cid":1,"channel":"b","after":"` + first + `"}`); f.After != first {
				t.Errorf("the reply is %+v, want after %s", f, first)
			}
			if f := l.next(); f.Op != "subscribed" || f.Channel != "b" || f.After != first {
				t.Errorf("got %s, want subscribed after %s", f.raw, first)
			}
			equal(t, "the backfill", l.collect(1), []string{"2"})
			w.publish("a", 3)
			w.publish("b", 4)
			equal(t, "both channels", l.collect(2), []string{"3", "4"})

			if transport == protocol.WebSocket {
				l.sendText(`{"op":"unsubscribe","channel":"b"}`)
				l.command(`{"op":"ping","cid":1}`)
			} else if f := l.command(`{"op":"unsubscribe","channel":"b"}`); !f.OK {
				t.Errorf("unsubscribe: got %+v", f)
			}
			w.publish("b", 5)
			w.publish("a", 6)
			equal(t, "without b", l.collect(1), []string{"6"})
			l.hangUp()
		}
	}, streams...)
}

func TestACommandWithoutCIDIsAnsweredOnlyWithItsError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
		for _, command := range []string{`{"op":"publish","channel":"a","data":1}`, `{"op":"ping"}`, `{"op":"history","channel":"a"}`, `{"op":"unsubscribe","channel":"x"}`, `{"op":"dance"}`} {
			l.sendText(command)
		}
		var got []string
		for len(got) < 3 {
			switch f := l.next(); f.Op {
			case "proof":
			case "reply":
				f.wantError(t, "the last one", protocol.BadRequest)
				got = append(got, "reply to "+string(f.To))
			default:
				got = append(got, f.Op)
			}
		}
		slices.Sort(got[:2]) // the reply may overtake the message
		equal(t, "what came", got, []string{"message", "reply to null", "beat"})
	})
}

func TestByeEndsTheAttachmentAndIsAnswered(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"channels":{"a":{}}}`)
		if f := l.command(`{"op":"bye","cid":"b"}`); !f.OK || string(f.To) != `"b"` {
			t.Errorf("got %+v", f)
		}
		if transport == protocol.WebSocket {
			l.wantClose(1000)
		} else if err := l.wantEnd(); !isEnd(err) {
			t.Errorf("the end: got %v", err)
		}
		w.settle()
		w.commands(l, `{"op":"subscribe","channel":"b"}`)[0].wantError(t, "after the end", protocol.Gone)
	}, streams...)
}

func TestAnotherSessionsAttachmentIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.SSE, `{"session":"mine","channels":{"a":{}}}`)
		for _, session := range []string{"yours", ""} {
			thief := &link{welcome: frame{Session: session, Attachment: l.welcome.Attachment}}
			for _, f := range w.commands(thief, `{"op":"subscribe","channel":"b"}`, `{"op":"unsubscribe","channel":"a"}`, `{"op":"bye"}`) {
				f.wantError(t, "session "+session, protocol.Gone)
			}
		}
		for attachment, code := range map[string]protocol.Code{"": protocol.BadRequest, "x": protocol.Gone, "x.1": protocol.Gone, w.broker.Node() + ".99": protocol.Gone} {
			stranger := &link{welcome: frame{Session: "mine", Attachment: attachment}}
			w.commands(stranger, `{"op":"bye"}`)[0].wantError(t, "the attachment "+attachment, code)
		}
		for _, attachment := range []string{"*.1", "a b.1", "<", strings.Repeat("a", 65)} {
			w.call(request{method: "POST", path: "/v1/commands", body: `{"session":"mine","attachment":"` + attachment + `","commands":[{"op":"bye"}]}`}).wantProblem(t, attachment, protocol.BadRequest)
		}
		w.publish("a", 1)
		equal(t, "and the attachment goes on", l.collect(1), []string{"1"})
	})
}

func TestTheNumberOfCommandsAndChannelsIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Channels: 3}}, broker.Options{})
		many := func(n int) request {
			return request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[` + strings.TrimSuffix(strings.Repeat(`{"op":"ping"},`, n), ",") + `]}`}
		}
		if a := w.call(many(100)); a.status != 200 || len(a.Replies) != 100 {
			t.Errorf("100 commands: got %d", a.status)
		}
		w.call(many(101)).wantProblem(t, "101 commands", protocol.BadRequest)
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{},"b":{}}}`)
		if f := w.commands(l, `{"op":"subscribe","channel":"c"}`)[0]; !f.OK {
			t.Errorf("the third channel: got %+v", f)
		}
		l.want("subscribed")
		l.command(`{"op":"subscribe","cid":1,"channel":"d"}`).wantError(t, "the fourth channel", protocol.RateLimited)
		big := `{"op":"publish","channel":"a","data":"` + strings.Repeat("x", 256<<10) + `"}`
		w.commands(l, big)[0].wantError(t, "a command over the limit", protocol.TooLarge)
	})
}

// PROTOCOL.md 4.1: it may be sent to any node.
func TestCommandsReachAnAttachmentOnAnotherNode(t *testing.T) {
	url := startNATS(t)
	near := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	far := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	l := far.attach(protocol.SSE, `{"session":"s","channels":{"a":{}}}`)
	replies := near.commands(l, `{"op":"subscribe","cid":"c","channel":"b"}`, `{"op":"publish","cid":2,"channel":"b","data":7}`)
	if !replies[0].OK || string(replies[0].To) != `"c"` || replies[0].After == "" || !replies[1].OK {
		t.Errorf("got %+v", replies)
	}
	l.want("subscribed")
	equal(t, "from the new channel", l.collect(1), []string{"7"})
	near.commands(&link{welcome: frame{Session: "other", Attachment: l.welcome.Attachment}}, `{"op":"bye"}`)[0].wantError(t, "another session", protocol.Gone)
	if f := near.commands(l, `{"op":"bye"}`)[0]; !f.OK {
		t.Errorf("bye: got %+v", f)
	}
	if err := l.wantEnd(); !isEnd(err) {
		t.Errorf("the end: got %v", err)
	}
	near.commands(l, `{"op":"bye"}`)[0].wantError(t, "an ended attachment", protocol.Gone)
}

// A node whose stream is not the one it followed can tell its clients nothing
// more, and so does not keep them.
func TestANodeWhoseLogWasReplacedEndsItsAttachments(t *testing.T) {
	url := startNATS(t)
	w := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{Beat: 100 * time.Millisecond})
	l := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "FAIRLEAD"); err != nil {
		t.Fatal(err)
	}
	openBroker(t, broker.Options{URL: url}) // makes the stream anew
	for {
		switch f := l.next(); f.Op {
		case "beat", "proof":
		case "error":
			if f.Code != string(protocol.Unavailable) {
				t.Errorf("got %+v, want unavailable", f)
			}
			return
		default:
			t.Fatalf("got %+v, want the end", f)
		}
	}
}

// A cursor of one node is good on another.
func TestACursorMovesBetweenNodes(t *testing.T) {
	url := startNATS(t)
	near := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	far := serveLoopback(t, openBroker(t, broker.Options{URL: url}), Options{})
	l := near.attach(protocol.WebSocket, `{"channels":{"a":{"after":"0"}}}`)
	near.publish("a", 1)
	equal(t, "on one node", l.collect(1), []string{"1"})
	l.hangUp()
	far.publish("a", 2)
	m := far.attach(protocol.Stream, `{"channels":{"a":{"after":"`+l.cursor+`"}}}`)
	near.publish("a", 3)
	equal(t, "on the other", m.collect(2), []string{"2", "3"})
	m.hangUp()
}

// A client that sends commands and does not read their replies is not read from any more.
func TestRepliesThatNobodyReadsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", strings.Repeat("x", 100<<10))
		l := w.attach(protocol.WebSocket, `{"channels":{}}`)
		a := w.g.attachment(l.welcome.Attachment)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sent := 0
		stop := context.AfterFunc(ctx, l.hangUp)
		defer stop()
		for sendQuietly(l, `{"op":"history","channel":"a","cid":1}`) == nil {
			sent++
		}
		a.mu.Lock()
		if sent > 40 || a.bytes > maxOwed+200<<10 {
			t.Errorf("%d commands were read, and %d bytes are owed", sent, a.bytes)
		}
		a.mu.Unlock()
		time.Sleep(time.Hour)
		if w.g.attachment(l.welcome.Attachment) != nil {
			t.Error("an hour after its client left, the attachment is still there")
		}
	})
}

func TestTheRepliesOfOneRequestAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Batch: 4 << 10}}, broker.Options{})
		w.publish("a", strings.Repeat("x", 3<<10))
		l := w.attach(protocol.SSE, `{"channels":{}}`)
		history := `{"op":"history","channel":"a"}`
		replies := w.commands(l, history, history, history, `{"op":"publish","channel":"b","data":1}`)
		if !replies[0].OK || !replies[1].OK {
			t.Errorf("got %+v, want two pages", replies[:2])
		}
		replies[2].wantError(t, "a page too many", protocol.TooLarge)
		replies[3].wantError(t, "a publish behind it", protocol.TooLarge)
		if page := w.call(request{method: "GET", path: "/v1/channels/b/messages"}); len(page.Messages) != 0 {
			t.Errorf("a refused publish was stored: %s", page.body)
		}
	})
}

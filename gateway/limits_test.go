package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// wantRefused checks that the request is refused with that code and a Retry-After, and counted.
func (w *world) wantRefused(r request, code protocol.Code, limit string) (after time.Duration) {
	w.t.Helper()
	name := `fairlead_refused_total{limit="` + limit + `"}`
	before := w.metrics()[name]
	a := w.call(r)
	a.wantProblem(w.t, limit, code)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if code.Retryable() != (err == nil && seconds > 0) {
		w.t.Errorf("%s: Retry-After is %q", limit, a.header.Get("Retry-After"))
	}
	if n := w.metrics()[name]; n != before+1 {
		w.t.Errorf("%s went from %v to %v, want one more", name, before, n)
	}
	return time.Duration(seconds) * time.Second
}

// wantServed checks that an attachment is served as ever: messages come, and commands are answered.
func (l *link) wantServed() {
	l.w.t.Helper()
	l.w.publish("a", `"still"`)
	if m := l.want("message"); string(m.Data) != `"still"` {
		l.w.t.Errorf("%s: got %s", l.transport, m.Data)
	}
	if l.transport == protocol.WebSocket {
		l.sendText(`{"op":"ping","cid":1}`)
		if f := l.want("reply"); !f.OK {
			l.w.t.Errorf("got %s", f.raw)
		}
	}
}

const (
	someone = "192.0.2.7:1000"
	another = "192.0.2.8:1000"
	aHello  = `{"channels":{"a":{}}}`
)

var (
	anAttach = request{method: "GET", path: "/v1/attach?channel=a", headers: "Accept: text/event-stream"}
	aPoll    = request{method: "GET", path: "/v1/attach?channel=a&wait=0"}
)

func TestAttachmentsOfAnAddressAreLimited(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{AttachmentsPerIP: 2}}, broker.Options{})
		first, second := w.from(someone).attach(transport, aHello), w.from(someone).attach(transport, aHello)
		defer first.hangUp()
		for _, r := range []request{anAttach, aPoll} {
			w.from(someone).wantRefused(r, protocol.RateLimited, "attachments_per_ip")
		}
		first.wantServed()
		for _, at := range []string{another, "[2001:db8::1]:1", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"} {
			w.from(at).attach(transport, aHello).hangUp()
		}
		second.hangUp()
		w.settle()
		w.from(someone).attach(transport, aHello).hangUp()
		if w.settle(); w.g.door.Taken().Places != 1 {
			t.Errorf("%d places are taken, want one", w.g.door.Taken().Places)
		}
	}, streams...)
}

func TestAddressesOfOneIPv6NetworkAreOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{AttachmentsPerIP: 1}}, broker.Options{})
		l := w.from("[2001:db8:1:2::3]:1").attach(protocol.SSE, aHello)
		defer l.hangUp()
		w.from("[2001:db8:1:2:ffff::9]:1").wantRefused(anAttach, protocol.RateLimited, "attachments_per_ip")
		w.from("[2001:db8:1:3::3]:1").attach(protocol.SSE, aHello).hangUp()
	})
}

func TestAttachmentsAreLimitedInAll(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{Attachments: 2}}, broker.Options{})
		first, second := w.attach(transport, aHello), w.attach(transport, aHello)
		defer first.hangUp()
		for _, r := range []request{anAttach, aPoll} {
			w.wantRefused(r, protocol.Unavailable, "attachments")
		}
		first.wantServed()
		second.hangUp()
		w.settle()
		w.attach(transport, aHello).hangUp()
	}, streams...)
}

// A WebSocket that has not said hello, and a poll that waits, take a place as well.
func TestWhatIsNotAttachedYetTakesAPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Attachments: 2}}, broker.Options{})
		half := w.dialWebSocket("/v1/attach")
		var wg sync.WaitGroup
		wg.Go(func() { w.call(request{method: "GET", path: "/v1/attach?channel=a&wait=5"}) })
		synctest.Wait()
		w.wantRefused(aPoll, protocol.Unavailable, "attachments")
		answer := w.rawHandshake()
		answer.wantProblem(t, "a handshake", protocol.Unavailable)
		wg.Wait()
		half.hangUp()
		w.settle()
		for range 5 {
			if a := w.call(aPoll); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
	})
}

const handshakeText = "GET /v1/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fairlead.v1\r\n"

// rawHandshake is the answer to a WebSocket handshake that is refused.
func (w *world) rawHandshake() answer {
	w.t.Helper()
	conn := w.dial()
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, handshakeText+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{})
	if err != nil {
		w.t.Fatal(err)
	}
	return answerOf(w.t, response)
}

// TestALargeHeaderIsRefused to the byte, with what to do about it.
func TestALargeHeaderIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Header: 4 << 10}}, broker.Options{})
		ask := func(size int) answer {
			before, after := "GET /v1/ping?x=%20 HTTP/1.1\r\nHost: localhost\r\nX: 1\r\nX: 2\r\nCookie: ", "\r\n\r\n"
			a, _ := w.rawCallOn(before + strings.Repeat("c", size-len(before)-len(after)) + after)
			return a
		}
		if a := ask(4 << 10); a.status != 200 {
			t.Errorf("at the limit: got %d %s", a.status, a.body)
		}
		a := ask(4<<10 + 1)
		a.wantProblem(t, "a byte over it", protocol.HeaderTooLarge)
		if a.status != 431 || !strings.Contains(a.Detail, "4097 bytes, and may have 4096") {
			t.Errorf("got %d %q", a.status, a.Detail)
		}
		if n := w.metrics()[`fairlead_refused_total{limit="header"}`]; n != 1 {
			t.Errorf("%v are counted", n)
		}
	})
}

func TestAttachesASecondAreLimited(t *testing.T) {
	for limit, c := range map[string]struct {
		limits Limits
		code   protocol.Code
	}{
		"attaches_per_ip": {Limits{AttachesPerIP: 2}, protocol.RateLimited},
		"attaches":        {Limits{Attaches: 2}, protocol.Unavailable},
	} {
		bubble(t, func(t *testing.T) {
			all := newWorld(t, Options{Limits: c.limits}, broker.Options{})
			w := all.from(someone)
			healthy := w.attach(protocol.WebSocket, aHello)
			defer healthy.hangUp()
			for range 2*admission.BurstSeconds - 1 {
				w.attach(protocol.SSE, aHello).hangUp()
			}
			after := w.wantRefused(anAttach, c.code, limit)
			w.wantRefused(aPoll, c.code, limit)
			healthy.wantServed()
			if a := w.call(request{method: "GET", path: "/v1/attach?channel=a&wait=0&session=s"}); a.status != 200 {
				t.Errorf("%s: a poll that goes on got %d %s", limit, a.status, a.body)
			}
			if limit == "attaches_per_ip" {
				all.from(another).attach(protocol.SSE, aHello).hangUp()
			}
			time.Sleep(after)
			w.attach(protocol.SSE, aHello).hangUp()
		})
	}
}

// PROTOCOL.md 2.1: the refusal says when, and that is true.
func TestCommandsOfASessionAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Commands: 5}}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"session":"s","channels":{"a":{}}}`)
		other := w.attach(protocol.WebSocket, aHello)
		defer other.hangUp()
		for range 5 * admission.BurstSeconds {
			l.sendText(`{"op":"ping","cid":1}`)
			if f := l.want("reply"); !f.OK {
				t.Fatalf("got %s", f.raw)
			}
		}
		for _, text := range []string{`{"op":"publish","channel":"a","data":1,"cid":"p"}`, `{"op":"nonsense","cid":"p"}`} {
			l.sendText(text)
			f := l.want("reply")
			if f.OK || f.Error.Code != "rate_limited" || string(f.To) != `"p"` || f.RetryAfterMS < 1 || f.RetryAfterMS > 202 {
				t.Errorf("%s: got %s", text, f.raw)
			}
		}
		l.sendText(`{"op":"ping"}`)
		f := l.want("reply")
		if f.Error.Code != "rate_limited" {
			t.Errorf("got %s", f.raw)
		}
		other.wantServed()
		l.want("message")
		a := w.call(request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"ping","cid":1}]}`})
		if len(a.Replies) != 1 || a.Replies[0].Error.Code != "rate_limited" || a.Replies[0].RetryAfterMS == 0 {
			t.Errorf("by POST: got %s", a.body)
		}
		w.wantRefused(request{method: "GET", path: "/v1/attach?channel=a&wait=0&session=s"}, protocol.RateLimited, "commands")
		time.Sleep(time.Duration(f.RetryAfterMS) * time.Millisecond)
		l.sendText(`{"op":"ping","cid":2}`)
		if f := l.want("reply"); !f.OK {
			t.Errorf("after the time it asked for: got %s", f.raw)
		}
		l.sendText(`{"op":"bye","cid":3}`)
		if f := l.want("reply"); !f.OK {
			t.Errorf("leaving: got %s", f.raw)
		}
		l.hangUp()
	})
}

func TestCommandsOfAnAddressAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newWorld(t, Options{Limits: Limits{CommandsPerIP: 5}}, broker.Options{})
		w := all.from(someone)
		l := w.attach(protocol.WebSocket, aHello)
		defer l.hangUp()
		post := func(n int) request {
			return poster("b", "application/json", "["+strings.TrimSuffix(strings.Repeat(`{"data":1},`, n), ",")+"]")
		}
		if a := w.call(post(4)); a.status != 201 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		if a := w.call(request{method: "POST", path: "/v1/publish", body: `{"channels":["b","c","d","e","f"],"data":1}`}); a.status != 201 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		w.call(request{method: "POST", path: "/v1/commands", body: `{"session":"new","commands":[{"op":"ping"}]}`})
		after := time.Duration(0)
		newer := request{method: "POST", path: "/v1/commands", body: `{"session":"newer","commands":[{"op":"ping"}]}`}
		for _, r := range []request{poster("b", "text/plain", "x"), post(2), {method: "GET", path: "/v1/channels/b/messages"}, {method: "DELETE", path: "/v1/channels/b/messages"}, newer} {
			after = w.wantRefused(r, protocol.RateLimited, "commands_per_ip")
		}
		if a := all.from(another).call(poster("b", "text/plain", "x")); a.status != 201 {
			t.Errorf("another address: got %d %s", a.status, a.body)
		}
		if a := w.call(request{method: "GET", path: "/v1/ping"}); a.status != 200 {
			t.Errorf("a ping: got %d", a.status)
		}
		time.Sleep(after)
		l.wantServed()
	})
}

func TestPublishesToAChannelAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Publishes: 2, PublishBytes: 1000}}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{},"loud":{}}}`)
		defer l.hangUp()
		publish := func(r request, want int) {
			t.Helper()
			if a := w.call(r); a.status != want {
				t.Fatalf("got %d %s, want %d", a.status, a.body, want)
			}
		}
		publish(poster("loud", "application/json", `[{"data":1},{"data":2},{"data":3}]`), 201)
		equal(t, "before the limit", []string{l.want("message").String(), l.want("message").String(), l.want("message").String()}, []string{"1", "2", "3"})
		l.sendText(`{"op":"publish","channel":"loud","data":4,"cid":1}`)
		l.collectReplyAndMessage(t)
		after := w.wantRefused(poster("loud", "text/plain", "x"), protocol.RateLimited, "publishes")
		w.wantRefused(poster("loud", "application/json", `[{"data":1},{"data":2}]`), protocol.RateLimited, "publishes")
		w.wantRefused(request{method: "POST", path: "/v1/publish", body: `{"channels":["quiet","loud"],"data":1}`}, protocol.RateLimited, "publishes")
		l.sendText(`{"op":"publish","channel":"loud","data":1,"cid":1}`)
		if f := l.want("reply"); f.Error.Code != "rate_limited" || f.RetryAfterMS == 0 {
			t.Errorf("got %s", f.raw)
		}
		l.wantServed()
		time.Sleep(after)
		publish(poster("loud", "text/plain", "x"), 201)

		large := strings.Repeat("x", 900)
		publish(poster("large", "text/plain", large), 201)
		publish(poster("large", "text/plain", large), 201)
		after = w.wantRefused(poster("large", "text/plain", large), protocol.RateLimited, "publish_bytes")
		publish(poster("quiet", "text/plain", large), 201)
		time.Sleep(after)
		publish(poster("large", "text/plain", large), 201)
		equal(t, "what was refused is not there", w.history("loud"), []string{"1", "2", "3", "4", `"x"`})
	})
}

// collectReplyAndMessage reads a reply that is good and one message, in whichever order.
func (l *link) collectReplyAndMessage(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for !seen["reply"] || !seen["message"] {
		f := l.next()
		seen[f.Op] = true
		if f.Op == "reply" && !f.OK {
			t.Fatalf("got %s", f.raw)
		}
	}
}

// A stream that is too fast is slowed down, not broken off.
func TestAStreamedBodyIsReadAsFastAsItsChannelAllows(t *testing.T) {
	for media, format := range map[string]string{protocol.MediaSSE: "data: %d\n\n", protocol.MediaStream: "{\"data\":%d}\n"} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{Limits: Limits{Publishes: 10, CommandsPerIP: 1000}}, broker.Options{})
			var body strings.Builder
			for i := range 100 {
				fmt.Fprintf(&body, format, i)
			}
			began := time.Now()
			a := w.from(someone).call(poster("a", media, body.String()))
			if a.status != 201 || a.Stored != 100 {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if took := time.Since(began); took < 7*time.Second || took > 9*time.Second {
				t.Errorf("100 messages at 10 a second, and 20 at once, took %v", took)
			}
		})
	}
}

// What is small on its way in must not be large in the log.
func TestAMessageToManyChannelsIsCountedAsOftenAsItIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Fanout: 10_000}}, broker.Options{})
		fanout := func(channels, bytes int) request {
			var names []string
			for i := range channels {
				names = append(names, fmt.Sprintf(`"c.%d"`, i))
			}
			return request{method: "POST", path: "/v1/publish", body: `{"channels":[` + strings.Join(names, ",") + `],"data":"` + strings.Repeat("x", bytes-2) + `"}`}
		}
		if a := w.call(fanout(10, 1000)); a.status != 201 {
			t.Errorf("as much as may be: got %d %s", a.status, a.body)
		}
		w.wantRefused(fanout(10, 1001), protocol.TooLarge, "fanout")
		w.wantRefused(fanout(1000, 11), protocol.TooLarge, "fanout")
		if seq := w.broker.Head().Seq; seq != 10 {
			t.Errorf("%d messages were stored", seq)
		}
	})
}

func TestReadsOfAnAddressAtATimeAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newWorld(t, Options{Limits: Limits{ReadsPerIP: 1}}, broker.Options{})
		w := all.from(someone)
		l := w.attach(protocol.WebSocket, aHello)
		defer l.hangUp()
		page := request{method: "GET", path: "/v1/channels/a/messages"}
		done, err := all.g.door.Read(clientBehind(t, Options{}, someone).counted())
		if err != nil {
			t.Fatal(err)
		}
		w.wantRefused(page, protocol.RateLimited, "reads_per_ip")
		l.sendText(`{"op":"history","channel":"a","cid":1}`)
		if f := l.want("reply"); f.Error.Code != "rate_limited" || f.RetryAfterMS == 0 {
			t.Errorf("got %s", f.raw)
		}
		l.wantServed()
		if a := all.from(another).call(page); a.status != 200 {
			t.Errorf("another address: got %d %s", a.status, a.body)
		}
		done()
		for range 3 {
			if a := w.call(page); a.status != 200 {
				t.Errorf("got %d %s", a.status, a.body)
			}
		}
	})
}

func TestBodiesThatAreBeingReadAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Bodies: 1000}}, broker.Options{})
		of := func(n int) request { return poster("a", "text/plain", strings.Repeat("x", n)) }
		w.from(someone).wantRefused(of(1000/4+1), protocol.RateLimited, "bodies")
		w.wantRefused(of(1001), protocol.Unavailable, "bodies")
		slow, send := io.Pipe()
		done := make(chan int)
		go func() { done <- w.send(request{method: "POST", path: "/v1/commands", stream: slow}).StatusCode }()
		_, _ = send.Write(bytes.Repeat([]byte(" "), 900))
		w.settle()
		w.from(another).wantRefused(of(200), protocol.Unavailable, "bodies")
		if a := w.from(another).call(of(100)); a.status != 201 {
			t.Errorf("what there is room for: got %d %s", a.status, a.body)
		}
		_ = send.Close()
		if status := <-done; status != 400 {
			t.Errorf("the slow one: got %d", status)
		}
		if a := w.from(someone).call(of(1000 / 4)); a.status != 201 {
			t.Errorf("afterwards: got %d %s", a.status, a.body)
		}
		if n := w.g.door.Taken().Bodies; n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}

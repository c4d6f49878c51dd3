package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// What is under way while a grant is taken back, and done only after it (PROTOCOL.md 2.5).

func TestARevocationEndsIngests(t *testing.T) {
	for media, format := range map[string]string{protocol.MediaSSE: "data: %d\n\n", protocol.MediaStream: "{\"data\":%d}\n"} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			time.AfterFunc(5500*time.Millisecond, func() { w.send(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: `{"sub":"ann"}`})) })
			a := w.drip(w.as(w.token("ann", chat), poster("chat.1", media, "")), 10, time.Second, func(i int) string { return fmt.Sprintf(format, i) })
			if a.wantProblem(t, media, protocol.Unauthorized); a.Stored != 6 {
				t.Errorf("got %s", a.body)
			}
			if n := len(w.history("chat.1")); n != 6 {
				t.Errorf("%d messages are stored", n)
			}
		})
	}
}

// Not even what was waiting for its turn when it came.
func TestARevocationEndsAnIngestThatIsSlowedDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{PublishesPerSub: 1}})
		time.AfterFunc(time.Second+500*time.Millisecond, func() { w.send(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: `{"sub":"ann"}`})) })
		a := w.call(w.as(w.token("ann", chat), poster("chat.1", protocol.MediaStream, strings.Repeat("{\"data\":1}\n", 10))))
		if a.wantProblem(t, "an ingest", protocol.Unauthorized); a.Stored != 3 {
			t.Errorf("got %s", a.body)
		}
	})
}

// A body that was slow does not carry a grant past its revocation.
func TestABodyThatComesAfterARevocationIsNotStored(t *testing.T) {
	for what, c := range map[string]struct {
		r     request
		parts [2]string
	}{
		"raw":      {poster("chat.1", "text/plain", ""), [2]string{"x", "y"}},
		"JSON":     {poster("chat.1", "application/json", ""), [2]string{`{"data":`, "1}"}},
		"an array": {poster("chat.1", "application/json", ""), [2]string{`[{"data":1},`, `{"data":2}]`}},
		"fan-out":  {request{method: "POST", path: "/v1/publish"}, [2]string{`{"channels":["chat.1"],`, `"data":1}`}},
	} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			time.AfterFunc(time.Second, func() { w.send(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: `{"sub":"ann"}`})) })
			a := w.drip(w.as(w.token("ann", chat), c.r), 2, 2*time.Second, func(i int) string { return c.parts[i] })
			a.wantProblem(t, what, protocol.Unauthorized)
			if n := len(w.history("chat.1")); n != 0 {
				t.Errorf("%s: %d messages are stored", what, n)
			}
		})
	}
}

// The commands of one request may wait for each other.
func TestARevocationEndsTheCommandsThatStillWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		grant, err := w.g.identify(t.Context(), client{}, credential{text: w.token("ann", chat)}, "s")
		if err != nil {
			t.Fatal(err)
		}
		from := caller{from: client{grant: grant}, session: "s"}
		publish := []byte(`{"op":"publish","cid":1,"channel":"chat.1","data":1}`)
		if reply := w.g.execute(t.Context(), from, publish); reply.Err != nil {
			t.Error(reply.Err)
		}
		w.revoke(`"session":"s"`)
		if reply := w.g.execute(t.Context(), from, publish); reply.Err == nil || reply.Err.Code != protocol.Unauthorized {
			t.Errorf("got %v", reply.Err)
		}
		equal(t, "what is stored", w.history("chat.1"), []string{"1"})
	})
}

// A peer that does not read what sends it away can send as long as that takes.
func TestNothingIsDoneForAWebSocketThatWasSentAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		l := w.attach(protocol.WebSocket, helloAs(w.token("ann", chat), `"channels":{"chat.1":{}}`))
		w.publish("chat.1", 0) // is being written when the end comes, since nobody reads
		w.settle()
		w.revoke(`"sub":"ann"`)
		before := w.broker.Head()
		for range 10 {
			if sendQuietly(l, `{"op":"publish","channel":"chat.1","data":1}`) != nil {
				break
			}
		}
		w.settle()
		if now := w.broker.Head(); now != before {
			t.Errorf("the log was at %s and is at %s", before, now)
		}
		l.hangUp()
	})
}

package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// Each byte is in time, and the whole is not.
func TestABodyThatDripsIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Frame: 4 * minBodyRate, Batch: 8 * minBodyRate}}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.withstands(func() {
			slow := 0.0
			for path, most := range map[string]time.Duration{"/v1/attach": 34 * time.Second, "/v1/commands": 38 * time.Second, "/v1/publish": 38 * time.Second, "/v1/channels/a/messages": 34 * time.Second} {
				body, drip := io.Pipe()
				go func() { // ends when the request does
					for range 1000 {
						if _, err := drip.Write([]byte(" ")); err != nil {
							return
						}
						time.Sleep(7 * time.Second)
					}
				}()
				began := time.Now()
				a := w.call(request{method: "POST", path: path, stream: body})
				a.wantProblem(t, path, protocol.Timeout)
				if took := time.Since(began); took > most {
					t.Errorf("%s: answered after %v, want %v at most", path, took, most)
				}
				_ = body.Close()
				healthy.wantServed()
				slow++
				if n := w.timesRefused("body_stall"); n != slow {
					t.Errorf("%s: counted %v times, want %v", path, n, slow)
				}
			}
			time.Sleep(10 * time.Second) // the drips notice
		})
	})
}

// JSON that is nested deeper than anybody needs is an error like any other, and not a stack that overflows.
func TestDeepJSONIsRefused(t *testing.T) {
	const levels = 100_000
	bubble(t, func(t *testing.T) {
		o, _, admin := guard(t, Options{Limits: Limits{Frame: 1 << 20}}, nil)
		w := &guarded{world: newWorld(t, o, broker.Options{}), admin: admin}
		l := w.attach(protocol.WebSocket, helloAs(admin, `"channels":{"a":{}}`))
		defer l.hangUp()
		l.withstands(func() {
			for _, deep := range []string{strings.Repeat("[", levels), strings.Repeat(`{"a":`, levels), strings.Repeat("[", levels) + strings.Repeat("]", levels)} {
				for _, r := range []request{
					{method: "POST", path: "/v1/attach", body: deep}, {method: "POST", path: "/v1/attach", body: `{"channels":` + deep}, {method: "POST", path: "/v1/attach", body: `{"channels":{},"x":` + deep + "}"},
					{method: "POST", path: "/v1/commands", body: `{"commands":[` + deep}, {method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[` + deep + "]}"},
					{method: "POST", path: "/v1/publish", body: `{"channels":["a"],"data":` + deep}, {method: "POST", path: "/v1/publish", body: `{"channels":` + deep + "}"},
					{method: "POST", path: "/v1/revoke", body: `{"sub":"x","x":` + deep + "}"},
					poster("a", "application/json", deep), poster("a", "application/json", `{"data":`+deep+"}"), poster("a", "application/json", `[{"data":`+deep+"}]"),
					poster("a", "application/x-ndjson", `{"data":`+deep+"}"),
				} {
					w.call(w.as(admin, r)).wantProblem(t, r.path+" "+r.body[:12], protocol.BadRequest)
				}
				l.sendText(`{"op":"publish","channel":"a","cid":1,"data":` + deep + "}")
				if f := l.want("reply"); f.Error.Code != "bad_request" {
					t.Errorf("got %s", f.raw)
				}
			}
		})
		// As data of its own kind it is text, deep or not.
		for media, body := range map[string]string{"text/plain": "%s", protocol.MediaSSE: "data: %s\n\n"} {
			deep := strings.Repeat("[", levels) + strings.Repeat("]", levels)
			if a := w.call(w.as(admin, poster("b", media, fmt.Sprintf(body, deep)))); a.status != 201 {
				t.Errorf("as %s: got %d %s", media, a.status, a.body)
			}
		}
		page := w.call(w.as(admin, request{method: "GET", path: "/v1/channels/b/messages"}))
		if len(page.Messages) != 2 || len(page.body) < 4*levels || !strings.HasPrefix(string(page.Messages[0].Data), `"[[[`) || !strings.HasPrefix(string(page.Messages[1].Data), `"[[[`) {
			t.Errorf("got %.200s", page.body)
		}
	})
}

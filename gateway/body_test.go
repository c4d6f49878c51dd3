package gateway

import (
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
		}
		time.Sleep(10 * time.Second) // the drips notice
	})
}

// JSON that is nested deeper than anybody needs is an error like any other, and not a stack that overflows.
func TestDeepJSONIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, aHello)
		defer l.hangUp()
		before := 0
		for _, open := range []string{"[", `{"a":`, "["} {
			before = heap() // all but the last time for nothing: what the first costs is the same for any JSON
			deep := strings.Repeat(open, 100<<10/len(open))
			for _, r := range []request{
				{method: "POST", path: "/v1/attach", body: deep}, {method: "POST", path: "/v1/attach", body: `{"channels":` + deep},
				{method: "POST", path: "/v1/commands", body: `{"commands":[` + deep}, {method: "POST", path: "/v1/publish", body: `{"channels":["a"],"data":` + deep},
				poster("a", "application/json", deep), poster("a", "application/json", `{"data":`+deep), poster("a", "application/x-ndjson", `{"data":`+deep),
			} {
				w.call(r).wantProblem(t, r.path+" "+r.body[:12], protocol.BadRequest)
			}
			// As data of its own kind it is text, deep or not.
			if a := w.call(poster("b", "text/plain", deep)); a.status != 201 {
				t.Errorf("as text: got %d %s", a.status, a.body)
			}
			l.sendText(`{"op":"publish","channel":"a","cid":1,"data":` + deep)
			if f := l.want("reply"); f.Error.Code != "bad_request" {
				t.Errorf("got %s", f.raw)
			}
		}
		l.wantServed()
		wantMemoryBack(t, before)
	})
}

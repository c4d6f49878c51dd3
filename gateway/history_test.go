package gateway

import (
	"fmt"
	"testing"

	"github.com/fairlead/fairlead/broker"
)

// PROTOCOL.md 4.3.
func TestWhoPublishesReadsItBackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		last := func(want int) {
			t.Helper()
			a := w.call(request{method: "GET", path: "/v1/channels/a/messages?last=1"})
			if len(a.Messages) != 1 || string(a.Messages[0].Data) != fmt.Sprint(want) {
				t.Errorf("the page after %d is %d %s", want, a.status, a.body)
			}
		}
		for i := range 50 {
			w.call(poster("a", "application/json", fmt.Sprintf(`{"data":%d}`, i)))
			last(i)
			w.call(poster("a", "application/json", fmt.Sprintf(`[{"data":0},{"data":%d}]`, 100+i)))
			last(100 + i)
			w.call(poster("a", "application/x-ndjson", fmt.Sprintf("{\"data\":%d}\n", 200+i)))
			last(200 + i)
			commands := fmt.Sprintf(`{"commands":[{"op":"publish","channel":"a","data":%d},{"op":"history","cid":1,"channel":"a","last":1}]}`, 300+i)
			a := w.call(request{method: "POST", path: "/v1/commands", headers: "Content-Type: application/json", body: commands})
			if len(a.Replies) != 2 || len(a.Replies[1].Messages) != 1 || string(a.Replies[1].Messages[0].Data) != fmt.Sprint(300+i) {
				t.Errorf("the page by command is %d %s", a.status, a.body)
			}
			if ping := w.call(request{method: "GET", path: "/v1/ping"}); ping.ID != a.Replies[1].Messages[0].ID {
				t.Errorf("the log's position is %s after %s", ping.ID, a.Replies[1].Messages[0].ID)
			}
		}
	})
}

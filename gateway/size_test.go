package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// wantSize checks that a message of n bytes is taken, or not, by every way in.
func (w *world) wantSize(n int, taken bool) {
	w.t.Helper()
	data, err := json.Marshal(strings.Repeat("x", n-2))
	if err != nil {
		w.t.Fatal(err)
	}
	commands := fmt.Sprintf(`{"commands":[{"op":"publish","cid":1,"channel":"a","data":%s}]}`, data)
	for what, r := range map[string]request{
		"raw":      poster("a", "text/plain", strings.Repeat("x", n)),
		"an array": poster("a", "application/json", fmt.Sprintf(`[{"data":%s}]`, data)),
		"a stream": poster("a", "application/x-ndjson", fmt.Sprintf(`{"data":%s}`, data)+"\n"),
		"fan-out":  {method: "POST", path: "/v1/publish", headers: "Content-Type: application/json", body: fmt.Sprintf(`{"channels":["a","b"],"data":%s}`, data)},
	} {
		if a := w.call(r); taken != (a.status/100 == 2) || !taken && a.status != 413 {
			w.t.Errorf("%s of %d bytes: got %d %.200s", what, n, a.status, a.body)
		}
	}
	a := w.call(request{method: "POST", path: "/v1/commands", headers: "Content-Type: application/json", body: commands})
	if got := len(a.Replies) == 1 && a.Replies[0].OK; got != taken {
		w.t.Errorf("a command of %d bytes: got %d %.200s", n, a.status, a.body)
	}
}

func TestAReloadChangesHowLargeAMessageMayBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.wantSize(200_000, true)
		w.wantSize(300_000, false)
		w.reload(Options{Limits: Limits{Frame: 1 << 20}})
		w.wantSize(1<<20-200, true)
		w.wantSize(1<<20+1, false)
		w.reload(Options{Limits: Limits{Frame: 1000}})
		w.wantSize(800, true)
		w.wantSize(1001, false)

		if err := w.g.Reload(Options{Limits: Limits{Frame: 1 << 30}}); err == nil || !strings.Contains(err.Error(), "limits.frame") {
			t.Errorf("a limit that the log does not have: got %v", err)
		}
		if f := w.begin(protocol.Poll, request{method: "GET", path: "/v1/attach?channel=a&wait=0"}); f.Limits.Frame != 1000 {
			t.Errorf("afterwards, clients are told %d", f.Limits.Frame)
		}
		w.wantSize(1001, false)
	})
}

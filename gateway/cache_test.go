package gateway

import (
	"testing"

	"github.com/fairlead/fairlead/broker"
)

// A cache may keep a GET that does not say no, and then a poll hears the same for ever.
func TestNoAnswerIsForACache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1)
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"GET", "/v1/ping", "", 200},
			{"GET", "/v1/attach?channel=a&wait=0", "", 200},
			{"GET", "/v1/attach?session=s&channel=a&wait=0", "", 200},
			{"GET", "/v1/attach?session=s&channel=a&after=0", "", 200},
			{"POST", "/v1/attach", `{"wait":0,"channels":{"a":{}}}`, 200},
			{"GET", "/v1/attach?channel=a..b", "", 400},
			{"GET", "/v1/channels/a/messages", "", 200},
			{"GET", "/v1/channels/a..b/messages", "", 400},
			{"POST", "/v1/channels/a/messages", "x", 201},
			{"DELETE", "/v1/channels/a/messages", "", 200},
			{"POST", "/v1/commands", `{"commands":[{"op":"ping"}]}`, 200},
			{"POST", "/v1/publish", `{"channels":["a"],"data":1}`, 201},
			{"PUT", "/v1/ping", "", 405},
			{"GET", "/v1/nothing", "", 404},
			{"GET", "/healthz", "", 200},
			{"GET", "/readyz", "", 200},
		} {
			response := w.send(request{method: c.method, path: c.path, body: c.body})
			if got := response.Header.Get("Cache-Control"); got != "no-store" || response.StatusCode != c.status {
				t.Errorf("%s %s: got %d with Cache-Control %q, want %d with no-store", c.method, c.path, response.StatusCode, got, c.status)
			}
			_ = response.Body.Close()
		}
	})
}

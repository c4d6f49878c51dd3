package gateway

import (
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

func TestSubscriptionsOfAClientAreLimited(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		all := newWorld(t, Options{Limits: Limits{PatternsPerClient: 1, SubscriptionsPerClient: 3}}, broker.Options{})
		w := all.from(someone)
		l := w.attach(transport, `{"session":"s","channels":{"a":{},"b.*":{}}}`)
		defer l.hangUp()
		anotherPattern := request{method: "GET", path: "/v1/attach?channel=c.*", headers: "Accept: text/event-stream"}
		w.wantRefused(anotherPattern, protocol.RateLimited, "patterns_per_client")
		w.wantRefused(request{method: "GET", path: "/v1/attach?channel=c.*&wait=0"}, protocol.RateLimited, "patterns_per_client")
		second := w.attach(transport, `{"channels":{"b.*":{}}}`)
		w.wantRefused(anAttach, protocol.RateLimited, "subscriptions_per_client")
		all.from(another).attach(transport, `{"channels":{"a":{},"c.*":{}}}`).hangUp()
		second.hangUp()
		w.settle()
		w.attach(transport, aHello).hangUp()
		l.wantServed()
	}, streams...)
}

func TestASubscribeOverALimitIsCountedByIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := newWorld(t, Options{Limits: Limits{PatternsPerClient: 1, SubscriptionsPerClient: 3, Channels: 4}}, broker.Options{})
		w := all.from(someone)
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{},"b.*":{}}}`)
		defer l.hangUp()
		for _, c := range []struct{ channel, limit string }{{"c.*", "patterns_per_client"}, {"c", ""}, {"d", "subscriptions_per_client"}} {
			name := `fairlead_refused_total{limit="` + c.limit + `"}`
			before := all.metrics()[name]
			l.sendText(`{"op":"subscribe","channel":"` + c.channel + `","cid":1}`)
			f := l.want("reply")
			if c.limit == "" {
				l.want("subscribed")
			}
			if refused := f.Error.Code == string(protocol.RateLimited) && f.RetryAfterMS == 5000; refused != (c.limit != "") {
				t.Errorf("%s: got %s", c.channel, f.raw)
			}
			if n := all.metrics()[name] - before; c.limit != "" && n != 1 {
				t.Errorf("%s was counted %v times", name, n)
			}
		}
	})
}

package gateway

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// Whoever may not read a channel cannot find out by any answer whether there is one.
func TestAChannelThatIsNotGrantedMayBeThereOrNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		healthy := w.healthy()
		defer healthy.hangUp()
		w.publish("here", `"x"`)
		token := w.token("ann", chat)
		healthy.withstands(func() {
			for _, name := range []string{"here", "gone"} {
				w.refusals(t, token, name) // the first of everything
			}
			equal(t, "answers", w.refusals(t, token, "here"), w.refusals(t, token, "gone"))
		})
	})
}

// The grant is looked at before the log: not even time tells what is in there.
// Here the log is away, and only who is granted a channel notices.
func TestTheGrantIsLookedAtBeforeTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _, admin := guard(t, Options{}, nil)
		b := openBroker(t, broker.Options{TailBytes: 1}) // so that hardly anything is answered from memory
		listener := newPipeListener()
		w := &guarded{world: serve(t, b, o, listener), admin: admin}
		w.useDial(listener.dial)
		g := newGuarded(t, Options{}) // whose keys are the same
		token := g.token("ann", chat)
		w.publish("here", 1, 2, 3)
		w.publish("chat.1", 1, 2, 3)
		want := w.refusals(t, token, "here")
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		equal(t, "answers without a log", w.refusals(t, token, "here"), want)
		for _, r := range []request{poster("chat.1", "text/plain", "x"), {method: "GET", path: "/v1/channels/chat.1/messages?last=10"}} {
			w.call(w.as(token, r)).wantProblem(t, r.method+" what is granted", protocol.Unavailable)
		}
	})
}

// refusals are what somebody is answered who has no grant for a channel, in every way to ask for it, without its name.
func (g *guarded) refusals(t *testing.T, token, name string) (answers []string) {
	t.Helper()
	path := "/v1/channels/" + name + "/messages"
	keyed := poster(name, "text/plain", "x")
	keyed.headers += "\nIdempotency-Key: k"
	hello := `{"channels":{"` + name + `":{"last":10}}}`
	for _, r := range []request{
		{method: "GET", path: path}, {method: "GET", path: path + "?last=10"}, {method: "GET", path: path + "?after=a-1"}, {method: "DELETE", path: path}, poster(name, "text/plain", "x"), keyed,
		poster(name, "application/json", `[{"data":1,"key":"k"}]`), poster(name, protocol.MediaStream, `{"data":1}`), poster(name, protocol.MediaSSE, "data: 1\n\n"), {method: "POST", path: "/v1/publish", body: `{"channels":["` + name + `"],"data":1,"key":"k"}`},
		{method: "POST", path: "/v1/attach", body: hello}, {method: "POST", path: "/v1/attach", body: hello, headers: "Accept: " + protocol.MediaSSE}, {method: "GET", path: "/v1/attach?wait=0&last=10&channel=" + name},
		{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"history","channel":"` + name + `"},{"op":"publish","channel":"` + name + `","data":1,"key":"k"}]}`},
	} {
		a := g.call(g.as(token, r))
		a.header.Del("Date")
		header, err := json.Marshal(a.header)
		if err != nil {
			t.Fatal(err)
		}
		if a.Code != string(protocol.Forbidden) && len(a.Replies) == 0 {
			t.Errorf("%s %s: got %s", r.method, r.path, a.body)
		}
		answers = append(answers, strings.ReplaceAll(r.method+" "+r.path+": "+string(header)+" "+a.body, name, "…"))
	}
	return answers
}

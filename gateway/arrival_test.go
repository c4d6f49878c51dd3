package gateway

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// What happens before it is known who somebody is (PROTOCOL.md 2.5).

// A request costs its address something, whatever comes of it.
func TestBadRequestsAreCounted(t *testing.T) {
	const most = 5 * admission.BurstSeconds
	for what, c := range map[string]struct {
		r     request
		limit string
	}{
		"commands":           {request{method: "POST", path: "/v1/commands", body: "{"}, "commands_per_ip"},
		"commands of nobody": {request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[]}`}, "commands_per_ip"},
		"a poll":             {attaching("{"), "commands_per_ip"},
		"SSE":                {request{method: "POST", path: "/v1/attach", headers: "Accept: text/event-stream", body: "{"}, "attaches_per_ip"},
		"a stream":           {request{method: "POST", path: "/v1/attach", headers: "Accept: application/x-ndjson", body: "{"}, "attaches_per_ip"},
		"a bad query":        {request{method: "GET", path: "/v1/attach?channel=a&wait=x"}, "commands_per_ip"},
	} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Limits: Limits{CommandsPerIP: 5, AttachesPerIP: 5}})
			for range most {
				if a := w.from(someone).call(c.r); a.status != 400 && a.status != 401 {
					t.Fatalf("%s: got %d %s", what, a.status, a.body)
				}
			}
			c.r.body = strings.Replace(c.r.body, "{", " {", 1)
			w.from(someone).wantRefused(c.r, protocol.RateLimited, c.limit)
			if a := w.from(another).call(c.r); a.status == 429 {
				t.Errorf("%s: another address got %d %s", what, a.status, a.body)
			}
		})
	}
}

// The first command of a request is the request.
func TestCommandsOfARequestAreCountedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{CommandsPerIP: 5}}, broker.Options{})
		for i := range 5 * admission.BurstSeconds / 2 {
			a := w.from(someone).call(request{method: "POST", path: "/v1/commands", body: fmt.Sprintf(`{"session":"s%d","commands":[{"op":"ping","cid":1},{"op":"ping","cid":2}]}`, i)})
			if a.status != 200 || !a.Replies[0].OK || !a.Replies[1].OK {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
		w.from(someone).wantRefused(request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"ping"}]}`}, protocol.RateLimited, "commands_per_ip")
	})
}

// Who begins to attach, and goes no further, takes neither the places of other
// addresses nor of those of its own who can say who they are.
func TestHalfOpenAttachesOfAnAddressLeaveRoom(t *testing.T) {
	const few = 20 * admission.BurstSeconds
	for name, text := range halfOpen {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newGuarded(t, Options{Limits: Limits{AttachesPerIP: 20}})
				healthy := w.healthy()
				defer healthy.hangUp()
				stranger, known := attaching(`{"wait":0,"channels":{"chat.1":{}}}`), w.as(w.token("ann", chat), attaching(`{"wait":0,"channels":{"chat.1":{}}}`))
				stranger.body = helloAs(w.token("bob", chat), stranger.body[1:len(stranger.body)-1])
				at, other := w.from(someone), w.from(another)
				healthy.withstands(func() {
					var hangUps []func()
					for range 5 {
						hangUps = append(hangUps, at.halfOpens(few, text))
						time.Sleep(time.Second)
					}
					if n := w.g.door.Taken().Places; n != few+1 {
						t.Errorf("%d places are taken, want %d", n, few+1)
					}
					time.Sleep(time.Second)
					at.wantRefused(stranger, protocol.RateLimited, "attaches_per_ip")
					if a := at.call(known); a.status != 200 {
						t.Errorf("who is known got %d %s", a.status, a.body)
					}
					if a := other.call(stranger); a.status != 200 {
						t.Errorf("another address got %d %s", a.status, a.body)
					}
					time.Sleep(40 * time.Second)
					if a := at.call(stranger); a.status != 200 {
						t.Errorf("afterwards it got %d %s", a.status, a.body)
					}
					for _, hangUp := range hangUps {
						hangUp()
					}
					at.client.CloseIdleConnections()
					other.client.CloseIdleConnections()
				})
			})
		})
	}
}

// A /48 of IPv6 has 65,536 times as many addresses as count.
func TestHalfOpenAttachesOfANetworkLeaveRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{AttachesPerIP: 10}}, broker.Options{})
		var hangUps []func()
		for i := range 10 {
			hangUps = append(hangUps, w.from(fmt.Sprintf("[2001:db8:1:%x::1]:1", i)).halfOpens(20, halfOpen["no body"]))
		}
		synctest.Wait()
		if n := w.g.door.Taken().Places; n != 80 {
			t.Errorf("%d places are taken, want those of four addresses", n)
		}
		w.from("[2001:db8:1:ff::1]:1").wantRefused(attaching(`{"wait":0,"channels":{"a":{}}}`), protocol.RateLimited, "attaches_per_ip")
		w.from("[2001:db8:2::1]:1").attach(protocol.SSE, aHello).hangUp()
		for _, hangUp := range hangUps {
			hangUp()
		}
	})
}

// All of an office come back at once, with the limits that there are by default.
func TestAThousandClientsOfOneAddressAttachAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const clients = 1000
		w := newGuarded(t, Options{})
		hello := helloAs(w.token("", chat), `"wait":1,"channels":{"chat.1":{}}`)
		var wg sync.WaitGroup
		statuses := make([]int, clients)
		for i := range clients {
			conn := w.from(someone).ask(attaching(hello))
			wg.Go(func() {
				if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
					statuses[i] = response.StatusCode
				}
				_ = conn.Close()
			})
		}
		wg.Wait()
		for _, status := range statuses {
			if status != 200 {
				t.Fatalf("got %d", status)
			}
		}
	})
}

// What the request shows is looked at before its body comes, and again after it.
func TestAGrantIsLookedAtAgainWhenTheBodyHasCome(t *testing.T) {
	publish := `"session":"s","commands":[{"op":"publish","channel":"chat.1","data":1}]}`
	for what, c := range map[string]struct {
		r    request
		body string
	}{
		"commands": {request{method: "POST", path: "/v1/commands"}, publish},
		"a poll":   {attaching(""), `"wait":0,"channels":{"chat.1":{}}}`},
	} {
		slowly := func(w *guarded, r request) answer {
			return w.drip(r, 2, 2*time.Second, func(i int) string { return []string{"{", c.body}[i] })
		}
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			for _, taken := range []string{`{"sub":"ann"}`, `{"session":"s"}`} {
				if what == "a poll" && strings.Contains(taken, "session") {
					c.body = `"session":"s",` + c.body
				}
				token := w.token("ann", chat)
				time.AfterFunc(1500*time.Millisecond, func() { w.send(w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: taken})) })
				slowly(w, w.as(token, c.r)).wantProblem(t, what+" of a revoked "+taken, protocol.Unauthorized)
				time.Sleep(5 * time.Second)
			}
			brief := w.tokenFor("bob", chat, 2*time.Second)
			slowly(w, w.as(brief, c.r)).wantProblem(t, what+" of a token that expired", protocol.Expired)
			if n := len(w.history("chat.1")); n != 0 {
				t.Errorf("%d messages were stored", n)
			}
		})
	}
}

// Who shows one token in the header, and another in the hello, is the second one.
func TestAPlaceIsOfWhomTheHelloNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{AttachmentsPerSub: 1}})
		ann, bob := w.token("ann", chat), w.token("bob", chat)
		both := w.as(ann, attaching(helloAs(bob, `"channels":{"chat.1":{}}`)))
		both.headers += "\nAccept: text/event-stream"
		response := w.send(both)
		synctest.Wait()
		w.wantRefused(w.as(bob, anAttach), protocol.RateLimited, "attachments_per_sub")
		w.attach(protocol.SSE, helloAs(ann, `"channels":{"chat.1":{}}`)).hangUp()
		_ = response.Body.Close()
	})
}

// It is verified once, and so counted once.
func TestAGuessInAHeaderIsCountedOnce(t *testing.T) {
	for _, r := range []request{attaching(`{"channels":{}}`), {method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[]}`}, anAttach} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Limits: Limits{GuessesPerIP: 2}})
			for range 2 * admission.BurstSeconds {
				w.from(someone).call(w.as("guess", r)).wantProblem(t, r.path, protocol.Unauthorized)
			}
			w.from(someone).wantRefused(w.as("guess", r), protocol.RateLimited, "guesses_per_ip")
		})
	}
}

// A browser goes on sending a cookie that is no good any more: that is no guess where a token is shown as well.
func TestAnOldCookieBesideATokenIsNoGuess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{GuessesPerIP: 1}})
		for i := range 5 {
			r := attaching(helloAs(w.token(fmt.Sprint("sub", i), chat), `"wait":0,"channels":{"chat.1":{}}`))
			r.headers = "Cookie: " + cookieName + "=old"
			if a := w.from(someone).call(r); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
	})
}

// net/http would wait for a body before it answers: no welcome would come, and a drain would wait.
func TestAGETToAttachHasNoBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, accept := range []string{protocol.MediaSSE, protocol.MediaStream, protocol.MediaJSON} {
			for _, body := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
				began := time.Now()
				a := w.rawCall("GET /v1/attach?channel=a HTTP/1.1\r\nHost: x\r\nAccept: " + accept + "\r\n" + body + "\r\n\r\n")
				a.wantProblem(t, accept+" "+body, protocol.BadRequest)
				if took := time.Since(began); took > 0 {
					t.Errorf("%s %s: after %v", accept, body, took)
				}
			}
		}
		w.rawCall(handshakeText+"Content-Length: 10\r\n\r\n").wantProblem(t, "a WebSocket", protocol.BadRequest)
		w.attach(protocol.SSE, aHello).hangUp()
	})
}

// Only who leaves over its own attachment is let go whatever it has done.
func TestByesToOthersAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Commands: 5}}, broker.Options{})
		l := w.attach(protocol.SSE, `{"session":"s","channels":{"a":{}}}`)
		node, _, _ := strings.Cut(l.welcome.Attachment, ".")
		byes := func(attachment string) (codes []string) {
			a := w.call(request{method: "POST", path: "/v1/commands", body: `{"session":"s","attachment":"` + attachment + `","commands":[` + strings.TrimSuffix(strings.Repeat(`{"op":"bye","cid":1},`, 12), ",") + `]}`})
			for _, reply := range a.Replies {
				codes = append(codes, reply.Error.Code)
			}
			return codes
		}
		got := byes(node + ".999")
		if len(got) != 12 || got[9] != "gone" || got[10] != "rate_limited" || got[11] != "rate_limited" {
			t.Errorf("got %v", got)
		}
		l.hangUp()
	})
}

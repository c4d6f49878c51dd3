package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// PROTOCOL.md 4.2.
func TestEachKindOfBodyIsStoredAsWhatItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for i, c := range []struct{ media, headers, body, want string }{
			{"application/json", "", `{"data":{"a": [1,2]},"type":"x"}`, `"type":"x","data":{"a": [1,2]}`},
			{"application/json; charset=utf-8", "Fairlead-Type: y", `{"data":null}`, `"type":"y","data":null`},
			{"application/json", "Fairlead-Type: y", `{"type":"x"}`, `"type":"x","data":null`},
			{"application/json", "", `{"data":"aGk=","encoding":"base64"}`, `"data":"aGk=","encoding":"base64"`},
			{"text/plain", "Fairlead-Type: y", "42", `"type":"y","data":"42"`},
			{"text/plain", "", "two\nlines", `"data":"two\nlines"`},
			{"", "", "\xff\x00", `"data":"/wA=","encoding":"base64"`},
			{"application/octet-stream", "", "text", `"data":"dGV4dA==","encoding":"base64"`},
			{"application/json", "Content-Encoding: identity", `{"data":1,"key":"k"}`, `"data":1,`},
		} {
			r := poster("a", c.media, c.body)
			r.headers += "\n" + c.headers
			a := w.call(r)
			if a.status != http.StatusCreated || a.ID != fmt.Sprintf("%s-%d", w.broker.Epoch(), i+1) {
				t.Errorf("%s: got %d %s", c.body, a.status, a.body)
			}
			stored := w.send(request{method: "GET", path: "/v1/channels/a/messages?last=1"})
			body, err := io.ReadAll(stored.Body)
			// Not all white space survives the way through encoding/json.
			if want := strings.ReplaceAll(c.want, `"a": `, `"a":`); err != nil || !strings.Contains(string(body), want) {
				t.Errorf("%s: stored as %s, want %s", c.body, body, want)
			}
		}
	})
}

func TestARepeatedIdempotencyKeyStoresNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		send := func(key, media, body string) answer {
			r := poster("a", media, body)
			r.headers += "\nIdempotency-Key: " + key
			return w.call(r)
		}
		first := send("k", "application/json", `{"data":1}`)
		if first.status != 201 || first.Duplicate {
			t.Errorf("the first: got %d %s", first.status, first.body)
		}
		for _, c := range [][3]string{{"k", "application/json", `{"data":1}`}, {`"k"`, "application/json", `{"data":"other"}`}, {"k", "text/plain", "other"}, {"ignored", "application/json", `{"data":2,"key":"k"}`}} {
			if a := send(c[0], c[1], c[2]); a.status != 200 || a.ID != first.ID || !a.Duplicate {
				t.Errorf("%q: got %d %s, want 200 and %s as a duplicate", c, a.status, a.body, first.ID)
			}
		}
		batch := send("b", "application/json", `[{"data":10},{"data":11,"key":"own"}]`)
		again := send("b", "application/json", `[{"data":10},{"data":11,"key":"own"}]`)
		if batch.status != 201 || again.status != 200 || len(again.IDs) != 2 || !again.IDs[0].Duplicate || again.IDs[0] == batch.IDs[0] || again.IDs[0].ID != batch.IDs[0].ID || again.ID != batch.ID {
			t.Errorf("an array: got %d %s and then %d %s", batch.status, batch.body, again.status, again.body)
		}
		if a := send("b/0", "text/plain", "x"); a.ID != batch.IDs[0].ID {
			t.Errorf("the first of the array has another key than b/0: %s", a.body)
		}
		if a := send("own", "text/plain", "x"); a.ID != batch.IDs[1].ID {
			t.Errorf("the second of the array has another key than its own: %s", a.body)
		}
		equal(t, "stored", w.history("a"), []string{"1", "10", "11"})
		send("a b", "text/plain", "x").wantProblem(t, "a key with a space", protocol.BadRequest)
		send(strings.Repeat("k", 129), "text/plain", "x").wantProblem(t, "a key of 129 bytes", protocol.BadRequest)
		send("k", "text/event-stream", "data: x\n\n").wantProblem(t, "one key for a stream", protocol.BadRequest)
	})
}

func TestAnArrayIsStoredWholeOrNotAtAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`{"data":1},`, n), ",") + "]" }
		for what, body := range map[string]string{"null in it": `[{"data":1},null]`, "a bad type": `[{"data":1},{"type":"a b"}]`, "bad base64": `[{"data":1},{"data":"?","encoding":"base64"}]`, "none": `[]`, "1001": array(1001), "cut": array(5)[:40]} {
			w.call(poster("a", "application/json", body)).wantProblem(t, what, protocol.BadRequest)
		}
		w.call(poster("a", "application/json", `[{"data":1},{"data":"`+strings.Repeat("x", 256<<10)+`"}]`)).wantProblem(t, "one over the limit", protocol.TooLarge)
		a := w.call(poster("a", "application/json", array(1000)))
		if a.status != 201 || len(a.IDs) != 1000 || a.IDs[0].ID != w.broker.Epoch()+"-1" || a.ID != w.broker.Epoch()+"-1000" {
			t.Errorf("1000: got %d with %d ids, the last %s: something of the refused was stored", a.status, len(a.IDs), a.ID)
		}
	})
}

// PROTOCOL.md 4.5.
func TestOneMessageToManyChannels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		fanout := func(body string) answer {
			return w.call(request{method: "POST", path: "/v1/publish", body: body, headers: "Idempotency-Key: k"})
		}
		a := fanout(`{"channels":["a","b.1","c"],"type":"x","data":7}`)
		if a.status != 201 || len(a.IDs) != 3 || a.ID != a.IDs[2].ID {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if again := fanout(`{"channels":["a","b.1","c"],"data":8}`); again.status != 200 || !again.IDs[0].Duplicate || again.IDs[0].ID != a.IDs[0].ID {
			t.Errorf("again: got %d %s", again.status, again.body)
		}
		for _, body := range []string{`{"channels":[],"data":1}`, `{"data":1}`, `{"channels":["ok","a.*"],"data":1}`, `{"channels":["ok",""],"data":1}`, `[]`, ``} {
			fanout(body).wantProblem(t, body, protocol.BadRequest)
		}
		for _, channel := range []string{"a", "b.1", "c"} {
			equal(t, channel, w.history(channel), []string{"7"})
		}
		equal(t, "ok", w.history("ok"), nil)
	})
}

// PROTOCOL.md 4.2: each message of a long request is there when it is complete, while the request goes on.
func TestAStreamedBodyIsAppendedAsItArrives(t *testing.T) {
	for media, parts := range map[string][]string{
		"text/event-stream":    {"event: token\nid: k1\ndata: on", "e\n\n", ": a comment\r\n\r", "\ndata: {\"n\":\r\ndata: 2}\r\n\r\n", "data\n\n"},
		"application/x-ndjson": {`{"type":"token","key":"k1","da`, `ta":"one"}` + "\n", "\n  \r\n", `{"data":{"n":2}}` + "\n", `{"data":""}`},
	} {
		t.Run(media, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				l := w.attach(protocol.SSE, `{"channels":{"a":{}}}`)
				l.want("proof")
				body, pipe := io.Pipe()
				answered := make(chan answer, 1)
				go func() { // ends with the body
					r := poster("a", media, "")
					r.stream = body
					answered <- answerOf(t, w.send(r))
				}()
				write := func(s string) {
					if _, err := io.WriteString(pipe, s); err != nil {
						t.Error(err)
					}
				}
				write(parts[0])
				synctest.Wait()
				equal(t, "half a message", w.history("a"), nil)
				write(parts[1])
				if f := l.next(); string(f.Data) != `"one"` || f.Type != "token" || f.Key != "k1" {
					t.Errorf("the first is %s", f.raw)
				}
				write(parts[2])
				write(parts[3])
				if f := l.next(); strings.ReplaceAll(string(f.Data), " ", "") != `{"n":2}` {
					t.Errorf("the second is %s", f.raw)
				}
				select {
				case a := <-answered:
					t.Errorf("answered before the end: %s", a.body)
				default:
				}
				write(parts[4])
				_ = pipe.Close()
				if a := <-answered; a.status != 201 || a.Stored != 3 || a.ID != w.broker.Epoch()+"-3" {
					t.Errorf("got %d %s", a.status, a.body)
				}
			})
		})
	}
}

// PROTOCOL.md 4.2: the problem says how far it got.
func TestAStreamedBodyThatBreaksOffKeepsWhatWasComplete(t *testing.T) {
	for _, c := range []struct {
		media, body string
		breaks      bool // the connection is half closed in the middle
		want        []string
		code        protocol.Code
	}{
		{"text/event-stream", "data: 1\n\ndata: 2\n\ndata: 3", false, []string{"1", "2"}, protocol.BadRequest},
		{"text/event-stream", "data: 1\n\ndata: 2\n\ndata: 3\n", true, []string{"1", "2"}, protocol.BadRequest},
		{"text/event-stream", "data: 1\n\nid: bad key\ndata: 2\n\ndata: 3\n\n", false, []string{"1"}, protocol.BadRequest},
		{"text/event-stream", "data: 1\n\ndata: " + strings.Repeat("x", 257<<10), false, []string{"1"}, protocol.TooLarge},
		{"application/x-ndjson", `{"data":1}` + "\n" + `{"data":2}` + "\n" + `{"data":`, false, []string{"1", "2"}, protocol.BadRequest},
		{"application/x-ndjson", `{"data":1}` + "\n" + `{"data":2}`, true, []string{"1"}, protocol.BadRequest},
		{"application/x-ndjson", `{"data":1}` + "\n" + strings.Repeat(" ", 257<<10), false, []string{"1"}, protocol.TooLarge},
		{"text/event-stream", "", false, nil, ""},
	} {
		t.Run(c.media, func(t *testing.T) {
			w := newRealWorld(t, Options{}, broker.Options{})
			conn := w.dial()
			defer func() { _ = conn.Close() }()
			length := len(c.body)
			if c.breaks {
				length++
			}
			// Writing fails if the server has answered and closed already.
			_, _ = fmt.Fprintf(conn, "POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", c.media, length, c.body)
			if c.breaks {
				if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			response.Request = &http.Request{}
			a := answerOf(t, response)
			if c.code != "" {
				a.wantProblem(t, c.body[:min(40, len(c.body))], c.code)
			}
			if a.Stored != len(c.want) || (a.ID == "") != (len(c.want) == 0) {
				t.Errorf("got %s, want %d stored", a.body, len(c.want))
			}
		})
	}
}

func TestHistoryPagesBothWaysHoldEveryMessageOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tail := range []int{1 << 20, 1} {
			w := newWorld(t, Options{}, broker.Options{TailBytes: tail})
			var want []string
			for i := range 25 {
				w.publish("a", i)
				w.publish("b", "x")
				want = append(want, fmt.Sprint(i))
			}
			page := func(query string) answer {
				a := w.call(request{method: "GET", path: "/v1/channels/a/messages?" + query})
				if a.status != 200 {
					t.Fatalf("%s: %d %s", query, a.status, a.body)
				}
				return a
			}
			data := func(a answer) (got []string) {
				for _, m := range a.Messages {
					got = append(got, string(m.Data))
				}
				return got
			}
			var forward, back []string
			for query := "limit=10"; query != ""; {
				a := page(query)
				forward = append(forward, data(a)...)
				query = ""
				if a.Next != "" {
					query = "limit=10&after=" + a.Next
				}
			}
			for query := "last=10"; query != ""; {
				a := page(query)
				back = append(data(a), back...)
				query = ""
				if a.Next != "" {
					query = "limit=10&before=" + a.Next
				}
			}
			equal(t, "forward", forward, want)
			equal(t, "back", back, want)
			if a := page("after=" + w.broker.Head().String()); len(a.Messages) != 0 || !strings.Contains(a.body, `"messages":[]`) {
				t.Errorf("after the end: got %s", a.body)
			}
		}
	})
}

// PROTOCOL.md 4.4.
func TestPurgeEmptiesAChannelAndTellsItsReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1, 2)
		w.publish("b", 3)
		l := w.attach(protocol.WebSocket, `{"channels":{">":{}}}`)
		a := w.call(request{method: "DELETE", path: "/v1/channels/a/messages"})
		if f := l.want("gap"); a.status != 200 || f.Reason != "purged" || f.Channel != "a" || string(f.To) != `"`+a.ID+`"` {
			t.Errorf("got %d %s and the gap %s", a.status, a.body, f.raw)
		}
		equal(t, "a", w.history("a"), nil)
		equal(t, "b", w.history("b"), []string{"3"})
	})
}

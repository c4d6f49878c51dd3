package gateway

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// What would end a line of SSE, or begin another field, gets into no name that is sent back.
func TestNoNameCarriesALineBreak(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.SSE, aHello)
		defer l.hangUp()
		l.withstands(func() {
			socket := w.attach(protocol.WebSocket, `{"channels":{}}`)
			defer socket.hangUp()
			before := w.broker.Head().Seq
			for _, evil := range []string{"x\r\nid: a-9", "x\nevent: error", "x\rdata: 1", "x\x00", "x\u2028y", "x\u0085", "x y", "\ufeffx"} {
				text, err := json.Marshal(evil)
				if err != nil {
					t.Fatal(err)
				}
				s := string(text)
				for _, body := range []string{`{"data":1,"type":` + s + `}`, `{"data":1,"key":` + s + `}`, `{"data":1,"encoding":` + s + `}`} {
					w.call(poster("a", "application/json", body)).wantProblem(t, body, protocol.BadRequest)
					w.call(poster("a", "application/json", "["+body+"]")).wantProblem(t, body, protocol.BadRequest)
					w.call(poster("a", "application/x-ndjson", body)).wantProblem(t, body, protocol.BadRequest)
					w.call(request{method: "POST", path: "/v1/publish", body: `{"channels":["a"],` + body[1:]}).wantProblem(t, body, protocol.BadRequest)
					socket.sendText(`{"op":"publish","channel":"a","cid":1,` + body[1:])
					if f := socket.want("reply"); f.Error.Code != "bad_request" {
						t.Errorf("%s: got %s", body, f.raw)
					}
				}
				w.call(request{method: "POST", path: "/v1/publish", body: `{"channels":[` + s + `],"data":1}`}).wantProblem(t, s, protocol.BadRequest)
				w.call(request{method: "POST", path: "/v1/attach", body: `{"session":` + s + `}`}).wantProblem(t, s, protocol.BadRequest)
				w.call(request{method: "POST", path: "/v1/attach", headers: "Accept: text/event-stream", body: `{"channels":{` + s + `:{}}}`}).wantProblem(t, s, protocol.BadRequest)
			}
			if seq := w.broker.Head().Seq; seq != before {
				t.Errorf("the log was at %d and is at %d", before, seq)
			}
		})
	})
}

// Data may hold anything. On every transport it comes out as it went in, and as nothing else.
func TestDataThatLooksLikeTheTransportIsData(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, aHello)
		defer l.hangUp()
		for _, evil := range []string{"\n\nevent: error\ndata: {\"op\":\"error\"}\n\n", "\r\n\r\nid: a-99\r\n", "\r", "\x00", "}\n{\"op\":\"goaway\"}\n", "]}", "\u2028\u2029", ": \n:", "retry: 1\n"} {
			if a := w.call(poster("a", "text/plain", evil)); a.status != 201 {
				t.Fatalf("%q: got %d %s", evil, a.status, a.body)
			}
			var got string
			if f := l.want("message"); json.Unmarshal(f.Data, &got) != nil || got != evil {
				t.Errorf("%q came as %s", evil, f.raw)
			}
			// JSON goes out as it came in: its line breaks may not.
			spaced, _ := json.Marshal(evil)
			if a := w.call(poster("a", "application/json", "{\"data\":\r\n[\n"+string(spaced)+"\r]\n}")); a.status != 201 {
				t.Fatalf("%q: got %d %s", evil, a.status, a.body)
			}
			var list []string
			if f := l.want("message"); json.Unmarshal(f.Data, &list) != nil || len(list) != 1 || list[0] != evil {
				t.Errorf("%q in JSON came as %s", evil, f.raw)
			}
		}
	})
}

// Nothing of a request becomes a header of its answer, and no path is taken for another.
func TestNoRequestWritesAHeaderOrLeavesItsPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.SSE, aHello)
		defer l.hangUp()
		w.publish("secret", `"secret"`)
		get := func(target, headers string) (*http.Response, string) {
			t.Helper()
			conn := w.dial()
			defer func() { _ = conn.Close() }()
			go func() { _, _ = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n") }() // ends with the connection
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%q: %v", target, err)
			}
			body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
			return response, string(body)
		}
		l.withstands(func() {
			const line = "%0d%0aX-Evil:%201"
			for _, target := range []string{
				"/" + line, "/v1/nothing" + line, "/v1/channels/a" + line + "/messages", "/v1/attach?channel=a" + line, "/v1/attach?wait=0&channel=a&session=s" + line, "/doctor" + line, "/doctor/" + line,
				"/v1/channels/secret%0a/messages", "/v1/channels/..%2fsecret/messages", "/v1/channels/%2e%2e%2f%2e%2e%2fmetrics/messages", "/v1/channels/..%2f..%2fv1%2fping/messages", "/v1/channels/../channels/..%2fsecret/messages",
				"/v1/channels/secret%2fmessages", "/v1/channels/secret;x=1/messages", "/v1/channels/secret%00/messages", "/v1/channels/%73ecret%2e/messages", "/v1/channels/secret.%2a/messages", "/v1/channels/%3e/messages",
				"/v1/channels//messages", "/v1/channels/%/messages", "/v1/channels/%zz/messages", "/v1/channels/" + strings.Repeat("a", 5000) + "/messages", "/v1/channels/secret\\/messages", "//v1//channels/secret/messages",
				"/v1/channels/$JS.API.STREAM.NAMES/messages", "/v1/channels/ch.secret%20x/messages",
			} {
				response, body := get(target, "")
				if response.StatusCode < 400 || response.StatusCode >= 500 {
					t.Errorf("%s: got %s %s", target, response.Status, body)
				}
				if response.Header.Get("X-Evil") != "" || strings.Contains(body, `"secret"`) {
					t.Errorf("%s: got %v %s", target, response.Header, body)
				}
			}
			for _, headers := range []string{"Fairlead-Type: x\r\n y: z\r\n", "X-Request-Id: evil-value\r\n", "Origin: https://evil-value\r\n", "Accept: evil-value\r\n", "Sec-WebSocket-Protocol: fairlead.v1, evil-value\r\n", "Last-Event-Id: evil-value\r\n"} {
				response, _ := get("/v1/attach?wait=0&channel=a", headers)
				for name, values := range response.Header {
					if strings.Contains(strings.Join(values, " "), "evil-value") {
						t.Errorf("%q: %s is %v", headers, name, values)
					}
				}
			}
		})
	})
}

package gateway

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

func sendQuietly(l *link, text string) error {
	return ws.WriteFrame(l.conn, ws.MaskFrame(ws.NewTextFrame([]byte(text))))
}

// RFC 6455; each is sent after the hello.
func TestWebSocketPeersThatBreakTheRulesAreClosedWithTheCodeThatSaysSo(t *testing.T) {
	text := func(s string) []byte { return ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(s)))) }
	part := func(op ws.OpCode, fin bool, s string) []byte {
		return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(s))))
	}
	reserved := text(`{"op":"ping"}`)
	reserved[0] |= 0x40
	large := text("")[:0]
	large = append(large, 0x81, 0x80|127)
	large = binary.BigEndian.AppendUint64(large, 256<<10+1)
	large = append(large, 1, 2, 3, 4)
	negative := append([]byte{0x81, 0x80 | 127}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4)
	half := strings.Repeat(" ", 200<<10)
	for name, c := range map[string]struct {
		bytes []byte
		code  int
		error protocol.Code // of an error frame before the close
	}{
		"unmasked":                  {ws.MustCompileFrame(ws.NewTextFrame([]byte(`{"op":"ping"}`))), 1002, ""},
		"reserved bits":             {reserved, 1002, ""},
		"a reserved opcode":         {part(3, true, ""), 1002, ""},
		"binary":                    {ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte("x")))), 1003, ""},
		"invalid UTF-8":             {text("\xff"), 1007, ""},
		"over the limit":            {large, 1009, protocol.TooLarge},
		"a negative length":         {negative, 1002, ""},
		"fragments over the limit":  {append(part(ws.OpText, false, half), part(ws.OpContinuation, true, half)[:14]...), 1009, protocol.TooLarge},
		"a long control frame":      {part(ws.OpPing, true, strings.Repeat("x", 126)), 1002, ""},
		"a fragmented control":      {part(ws.OpPing, false, ""), 1002, ""},
		"a continuation of nothing": {part(ws.OpContinuation, true, ""), 1002, ""},
		"a message in a message":    {append(part(ws.OpText, false, "{"), text("{}")...), 1002, ""},
		"close":                     {part(ws.OpClose, true, ""), 1000, ""},
		"close 1001":                {part(ws.OpClose, true, "\x03\xe9bye"), 1001, ""},
		"close 4000":                {part(ws.OpClose, true, "\x0f\xa0"), 4000, ""},
		"close with half a code":    {part(ws.OpClose, true, "\x03"), 1002, ""},
		"close 1005":                {part(ws.OpClose, true, "\x03\xed"), 1002, ""},
		"close with bad UTF-8":      {part(ws.OpClose, true, "\x03\xe8\xff"), 1002, ""},
	} {
		for _, greets := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, Options{}, broker.Options{})
					l := w.dialWebSocket("/v1/attach")
					if greets {
						l.sendText(`{"op":"hello","channels":{"a":{}}}`)
						l.want("welcome")
					}
					// A pipe holds nothing: what the server does not read any more is written while its close frame is read.
					var wg sync.WaitGroup
					defer wg.Wait()
					wg.Go(func() { _, _ = l.conn.Write(c.bytes) })
					if c.error != "" {
						if f := l.want("error"); f.Code != string(c.error) {
							t.Errorf("got %s", f.raw)
						}
					}
					if !strings.HasPrefix(name, "close") {
						l.wantClose(c.code)
						return
					}
					began := time.Now()
					var close closed
					if err := l.wantEnd(); !errors.As(err, &close) || close.code != c.code {
						t.Errorf("got %v, want the close code %d", err, c.code)
					}
					if l.wantNothing(); time.Since(began) > 0 {
						t.Errorf("the connection ended %v after the peer's close frame, want at once", time.Since(began))
					}
				})
			})
		}
	}
}

func TestAFragmentedMessageMayHaveAPingInBetween(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{}}`)
		l.sendFrame(ws.NewFrame(ws.OpText, false, []byte(`{"op":"publish","cid":1,`)))
		l.sendFrame(ws.NewPingFrame([]byte("are you there")))
		l.sendFrame(ws.NewFrame(ws.OpContinuation, false, []byte(`"channel":"a",`)))
		l.sendFrame(ws.NewPongFrame([]byte("nobody asked")))
		l.sendFrame(ws.NewFrame(ws.OpContinuation, true, []byte(`"data":"é"}`)))
		var p pong
		if _, err := l.read(); !errors.As(err, &p) || p != "are you there" {
			t.Errorf("got %v, want the pong", err)
		}
		if f := l.want("reply"); !f.OK {
			t.Errorf("got %s", f.raw)
		}
		w.settle()
		equal(t, "stored", w.history("a"), []string{`"é"`})
	})
}

// PROTOCOL.md 3.1.
func TestAWebSocketMustSayHello(t *testing.T) {
	for first, code := range map[string]protocol.Code{
		"":                                      protocol.Timeout,
		`{"op":"ping"}`:                         protocol.BadRequest,
		`{"op":"hello","channels":{"a..b":{}}}`: protocol.BadRequest,
		`{"op":"hello","channels"`:              protocol.BadRequest,
		`{"op":"hello","session":"a b"}`:        protocol.BadRequest,
		`{"op":"hello","channels":{"a":{"after":"0","last":1}}}`: protocol.BadRequest,
	} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			l := w.dialWebSocket("/v1/attach")
			began := time.Now()
			if first != "" {
				l.sendText(first)
			}
			if f := l.want("error"); f.Code != string(code) || f.Message == "" {
				t.Errorf("%q: got %s, want %s", first, f.raw, code)
			}
			if first == "" && time.Since(began) != 10*time.Second {
				t.Errorf("the hello was waited for for %v", time.Since(began))
			}
			l.wantClose(code.CloseCode())
		})
	}
}

// Whoever is closed, or has to say hello, cannot put that off by talking.
func TestTalkingDoesNotPutOffTheEnd(t *testing.T) {
	ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(nil)))
	text := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"ping"}`))))
	for name, c := range map[string]struct {
		first, then []byte
		hello       bool
		want        time.Duration
	}{
		"pings before hello":      {ping, ping, false, helloTimeout + closeTimeout},
		"a hello in small pieces": {text[:7], text[7:8], false, helloTimeout + closeTimeout},
		"after a bad hello":       {text, text, false, closeTimeout},
		"after a bad frame":       {[]byte{0x83, 0x80, 0, 0, 0, 0}, text, true, closeTimeout},
		"after bye":               {ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"bye"}`)))), text, true, closeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				l := w.dialWebSocket("/v1/attach")
				if c.hello {
					l.sendText(`{"op":"hello","channels":{}}`)
					l.want("welcome")
				}
				began := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = io.Copy(io.Discard, l.conn) })
				_, err := l.conn.Write(c.first)
				for err == nil && time.Since(began) < time.Minute {
					time.Sleep(time.Second)
					_, err = l.conn.Write(c.then)
				}
				if took := time.Since(began); took > c.want+time.Second {
					t.Errorf("the connection ended after %v, want %v", took, c.want)
				}
				l.hangUp()
				wg.Wait()
			})
		})
	}
}

// A peer that broke the rules and reads nothing is not waited for.
func TestAPeerThatDoesNotReadItsEndIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
		l.want("proof")
		w.publish("a", strings.Repeat("x", 1000))
		if _, err := l.conn.Write([]byte{0x83, 0x80, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*closeTimeout + time.Second)
		if w.g.attachment(l.welcome.Attachment) != nil {
			t.Error("it is still attached")
		}
	})
}

func TestABadHandshakeIsAProblemAndLeaksNoConnection(t *testing.T) {
	good := map[string]string{"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "other, fairlead.v1"}
	shake := func(w *world, line, name, value string) *http.Response {
		conn := w.dial()
		w.t.Cleanup(func() { _ = conn.Close() })
		var text strings.Builder
		text.WriteString(line + "\r\nHost: fairlead\r\n")
		for n, v := range good {
			if n == name {
				v = value
			}
			if v != "" {
				text.WriteString(n + ": " + v + "\r\n")
			}
		}
		if _, err := io.WriteString(conn, text.String()+"\r\n"); err != nil {
			w.t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
		if err != nil {
			w.t.Fatal(err)
		}
		if response.StatusCode == 101 {
			_ = conn.Close()
		}
		return response
	}
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		const get = "GET /v1/attach HTTP/1.1"
		if r := shake(w, get, "Connection", "keep-alive\r\nConnection: Upgrade"); r.StatusCode != 101 {
			t.Errorf("two lines of Connection: got %s", r.Status)
		}
		if r := shake(w, get, "", ""); r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Fatalf("a good handshake: got %s", r.Status)
		}
		for _, c := range [][3]string{{"Connection", ""}, {"Connection", "close"}, {"Sec-WebSocket-Version", "8"}, {"Sec-WebSocket-Version", ""}, {"Sec-WebSocket-Key", ""}, {"Sec-WebSocket-Key", "c2hvcnQ="},
			{"Sec-WebSocket-Key", "????????????????????????"}, {"Sec-WebSocket-Protocol", ""}, {"Sec-WebSocket-Protocol", "chat"}} {
			r := shake(w, get, c[0], c[1])
			if want := c[0] == "Sec-WebSocket-Version"; (r.Header.Get("Sec-WebSocket-Version") == "13") != want {
				t.Errorf("%s: %q: the version that is understood is told: %v", c[0], c[1], !want)
			}
			answerOf(t, withRequest(r)).wantProblem(t, c[0]+": "+c[1], protocol.BadRequest)
		}
		answerOf(t, withRequest(shake(w, "GET /v1/attach HTTP/1.0", "", ""))).wantProblem(t, "HTTP/1.0", protocol.BadRequest)
	}) // the bubble would not end if a connection's goroutine were left
}

func withRequest(r *http.Response) *http.Response {
	if r.Request.URL == nil {
		r.Request, _ = http.NewRequest("GET", "/v1/attach", nil)
	}
	return r
}

// Frames that come in the same segment as the handshake are not lost.
func TestAnEarlyHelloIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		conn := w.dial()
		defer func() { _ = conn.Close() }()
		hello := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"hello","channels":{"a":{}}}`))))
		shake := "GET /v1/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fairlead.v1\r\n\r\n"
		if _, err := conn.Write(append([]byte(shake), hello...)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		if _, err := http.ReadResponse(r, nil); err != nil {
			t.Fatal(err)
		}
		l := &link{w: w, transport: protocol.WebSocket, conn: conn}
		l.read = func() (frame, error) { return l.readText(r) }
		l.want("welcome")
	})
}

// After a deadline TLS writes nothing any more, so what is taken slowly is written in parts.
func TestAPeerThatTakesLittleByLittleIsWaitedForOverTLSToo(t *testing.T) {
	certificates := httptest.NewTLSServer(nil)
	defer certificates.Close()
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			if secure {
				server, client := tls.Server(near, certificates.TLS), tls.Client(far, &tls.Config{InsecureSkipVerify: true})
				shaken := make(chan error, 1)
				go func() { shaken <- client.Handshake() }()
				if err := errors.Join(server.Handshake(), <-shaken); err != nil {
					t.Fatal(err)
				}
				near, far = server, client
			}
			go func() { // ends with the connection
				part := make([]byte, 4<<10)
				for err := error(nil); err == nil; _, err = io.ReadFull(far, part) {
					time.Sleep(50 * time.Millisecond)
				}
			}()
			c := &webSocket{conn: near, stall: func() time.Duration { return time.Second }}
			if err := c.write(make([]byte, 200<<10)); err != nil { // 2.5 s
				t.Errorf("over TLS %v: %v", secure, err)
			}
			_ = near.Close()
			time.Sleep(10 * time.Second) // TLS waits for its last word
		})
	}
}

package gateway

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// RFC 6455, section 5.4: a message may come in parts, and a part may be empty.
// Parts, and pings, that come in floods are read at a bounded rate.
func TestFloodsOfFramesAreReadSlowly(t *testing.T) {
	const frames = 5 * framesPerSecond
	part := ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(ws.OpContinuation, false, nil)))
	for name, c := range map[string]struct{ first, flood, last []byte }{
		"empty parts": {ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(ws.OpText, false, []byte(`{"op":"ping",`)))), part,
			ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(ws.OpContinuation, true, []byte(`"cid":1}`))))},
		"pings": {nil, ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(nil))), ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"ping","cid":1}`))))},
		"pongs": {nil, ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(nil))), ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"ping","cid":1}`))))},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				healthy := w.attach(protocol.WebSocket, aHello)
				defer healthy.hangUp()
				healthy.want("proof")
				healthy.withstands(func() {
					l := w.attach(protocol.WebSocket, `{"channels":{}}`)
					began := time.Now()
					go func() { // ends with the connection, or with the flood
						_, err := l.conn.Write(c.first)
						for i := 0; i < frames && err == nil; i++ {
							_, err = l.conn.Write(c.flood)
						}
						_, _ = l.conn.Write(c.last)
					}()
					healthy.wantServed()
					for {
						f, err := l.read()
						if err == nil && f.Op == "reply" {
							break
						}
						if p := pong(""); err != nil && !errors.As(err, &p) {
							t.Fatal(err)
						}
					}
					if took, least := time.Since(began), (frames/framesPerSecond-1)*time.Second; took < least {
						t.Errorf("%d frames were read in %v, want at least %v", frames, took, least)
					}
					if n := w.metrics()[`fairlead_refused_total{limit="frames"}`]; n == 0 {
						t.Error("it is not counted")
					}
					l.hangUp()
				})
			})
		})
	}
}

// A command that comes byte by byte is carried out while it keeps coming, and cut off when that takes too long.
func TestAFrameThatDripsIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		drip := func(every time.Duration) (*link, time.Duration) {
			l := w.attach(protocol.WebSocket, `{"channels":{}}`)
			l.want("proof")
			began := time.Now()
			go func() { _, _ = io.Copy(io.Discard, l.conn) }() // ends with the connection
			for _, b := range ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"publish","channel":"b","data":"` + strings.Repeat("x", 60) + `"}`)))) {
				if _, err := l.conn.Write([]byte{b}); err != nil {
					break
				}
				time.Sleep(every)
			}
			return l, time.Since(began)
		}
		healthy.withstands(func() {
			quick, _ := drip(100 * time.Millisecond)
			w.settle()
			if got := len(w.history("b")); got != 1 {
				t.Errorf("%d messages were stored of a frame that came within its time", got)
			}
			slow, took := drip(time.Second)
			if w.settle(); w.g.attachment(slow.welcome.Attachment) != nil || took > 60*time.Second {
				t.Errorf("it is still attached after %v", took)
			}
			if got := len(w.history("b")); got != 1 {
				t.Errorf("%d messages were stored", got)
			}
			quick.hangUp()
			slow.hangUp()
		})
	})
}

// unfinished are the frames of a message of which n bytes have come.
func unfinished(n int, parts bool) []byte {
	if !parts {
		whole := masked(ws.NewTextFrame(bytes.Repeat([]byte(" "), n+1)))
		return whole[:len(whole)-1]
	}
	frames := []ws.Frame{ws.NewFrame(ws.OpText, false, nil)}
	for i := 0; i < n; i += 10 << 10 {
		frames = append(frames, ws.NewFrame(ws.OpContinuation, false, bytes.Repeat([]byte(" "), min(n-i, 10<<10))))
	}
	return masked(frames...)
}

// What has come of messages that are not complete is memory like that of
// bodies, whoever sends it: before the hello, and after it.
func TestMessagesThatAreStillComingAreCounted(t *testing.T) {
	const bodies, part = 1 << 20, 100 << 10
	for name, c := range map[string]struct{ greets, parts bool }{
		"a hello": {false, false}, "a hello in parts": {false, true}, "a command": {true, false}, "a command in parts": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{Limits: Limits{Bodies: bodies}}, broker.Options{})
				healthy := w.attach(protocol.WebSocket, aHello)
				defer healthy.hangUp()
				healthy.withstands(func() {
					begin := func(at string) *link {
						l := w.from(at).dialWebSocket("/v1/attach")
						if c.greets {
							l.sendText(`{"op":"hello","channels":{}}`)
							l.want("welcome")
						}
						go func() { _, _ = l.conn.Write(unfinished(part, c.parts)) }() // ends with the connection
						w.settle()
						return l
					}
					var links []*link
					for range 10 {
						links = append(links, begin(someone))
						if n := w.g.door.Taken().Bodies; n > bodies/4 {
							t.Fatalf("%d bytes are held for one address", n)
						}
						if n := w.g.door.Taken().Bodies; len(links) == 1 && (n > 2*part || !c.parts && n != part+1) {
							t.Errorf("%d bytes are held of %d", n, part)
						}
					}
					if n, refused := w.g.door.Taken().Bodies, w.timesRefused("bodies"); n < part || refused < 8 {
						t.Errorf("%d bytes are counted, and %v were refused", n, refused)
					}
					if f := links[9].want("error"); f.Code != "rate_limited" || f.RetryAfterMS == 0 {
						t.Errorf("got %s", f.raw)
					}
					links[9].wantClose(protocol.RateLimited.CloseCode())
					before := w.g.door.Taken().Bodies
					links = append(links, begin(another))
					if n := w.g.door.Taken().Bodies; n < before+part {
						t.Errorf("another address has no room: %d bytes were counted, and are %d", before, n)
					}
					healthy.wantServed()
					for _, l := range links {
						l.hangUp()
					}
					w.settle()
					if n := w.g.door.Taken().Bodies; n != 0 {
						t.Errorf("%d bytes are still counted", n)
					}
				})
			})
		})
	}
}

// A message of any size is carried out, and its room given back.
func TestLargeMessagesComeInAnyParts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{}}`)
		defer l.hangUp()
		l.want("proof")
		for _, n := range []int{0, 1, 4000, 4096, 16 << 10, 16<<10 + 1, 40_000, 255 << 10} {
			for _, size := range []int{n + 100, 100_000, 4097, 1000} {
				text := []byte(`{"op":"publish","channel":"b","cid":1,"data":"` + strings.Repeat("y", n) + `"}`)
				op := ws.OpText
				for len(text) > size {
					l.sendFrame(ws.NewFrame(op, false, text[:size]))
					text, op = text[size:], ws.OpContinuation
				}
				l.sendFrame(ws.NewFrame(op, true, text))
				if f := l.want("reply"); !f.OK {
					t.Fatalf("%d bytes in parts of %d: got %s", n, size, f.raw)
				}
				w.settle()
				got := w.history("b")
				if last := got[len(got)-1]; last != `"`+strings.Repeat("y", n)+`"` {
					t.Errorf("%d bytes in parts of %d: %d are stored", n, size, len(last))
				}
				if n := w.g.door.Taken().Bodies; n != 0 {
					t.Errorf("%d bytes are still counted", n)
				}
			}
			w.call(request{method: "DELETE", path: "/v1/channels/b/messages"})
		}
	})
}

// Each part is in time, and the whole is not.
func TestAMessageInPartsThatDripsIsCutOff(t *testing.T) {
	for name, between := range map[string][]ws.Frame{"parts": nil, "parts and pings": {ws.NewPingFrame(nil)}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{}, broker.Options{})
				l := w.attach(protocol.WebSocket, `{"channels":{}}`)
				l.want("proof")
				go func() { _, _ = io.Copy(io.Discard, l.conn) }() // ends with the connection
				began := time.Now()
				_, err := l.conn.Write(masked(ws.NewFrame(ws.OpText, false, []byte(" "))))
				for i := 0; err == nil && i < 1000; i++ {
					time.Sleep(10 * time.Second)
					_, err = l.conn.Write(masked(append(between, ws.NewFrame(ws.OpContinuation, false, []byte(" ")))...))
				}
				w.settle()
				if took := time.Since(began); took > 60*time.Second || took < 40*time.Second || w.g.attachment(l.welcome.Attachment) != nil {
					t.Errorf("it was cut off after %v, and attached is %v", took, w.g.attachment(l.welcome.Attachment))
				}
				if n := w.timesRefused("body_stall"); n != 1 {
					t.Errorf("counted %v times", n)
				}
				l.hangUp()
			})
		})
	}
}

// A message has begun with its first part, though that is empty.
func TestAMessageWithoutItsRestIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{}}`)
		began := time.Now()
		l.sendFrame(ws.NewFrame(ws.OpText, false, nil))
		if err := l.wantEnd(); !isEnd(err) || time.Since(began) != 30*time.Second || w.timesRefused("body_stall") != 1 {
			t.Errorf("after %v got %v", time.Since(began), err)
		}
	})
}

// One that comes after long silence has as much time as the first, and so have pings.
func TestBetweenMessagesAWebSocketMayBeSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, `{"channels":{}}`)
		defer l.hangUp()
		go func() { // ends with the connection
			for {
				if _, err := l.read(); err != nil && !errors.As(err, new(pong)) {
					return
				}
			}
		}()
		for range 3 {
			time.Sleep(time.Hour)
			l.sendFrame(ws.NewFrame(ws.OpText, false, []byte(`{"op":"publish",`)))
			time.Sleep(20 * time.Second)
			l.sendFrame(ws.NewPingFrame(nil))
			time.Sleep(20 * time.Second)
			l.sendFrame(ws.NewFrame(ws.OpContinuation, true, []byte(`"channel":"b","data":1}`)))
			time.Sleep(time.Hour)
			l.sendFrame(ws.NewPingFrame(nil))
		}
		w.settle()
		equal(t, "stored", w.history("b"), []string{"1", "1", "1"})
	})
}

// No extension is negotiated, so there is nothing that could be unpacked.
func TestCompressionIsNeverAgreedTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.withstands(func() {
			conn := w.dial()
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, handshakeText+"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover, x-webkit-deflate-frame\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 1024)
			n, err := conn.Read(head)
			if err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) || bytes.Contains(bytes.ToLower(head[:n]), []byte("sec-websocket-extensions")) {
				t.Errorf("got %q, %v", head[:n], err)
			}
			bomb := ws.NewTextFrame(bytes.Repeat([]byte{0}, 100))
			bomb.Header.Rsv = ws.Rsv(true, false, false)
			go func() { _ = ws.WriteFrame(conn, ws.MaskFrame(bomb)) }() // a pipe holds nothing, and the server may have gone
			h, err := ws.ReadHeader(conn)
			if err != nil || h.OpCode != ws.OpClose {
				t.Fatalf("got %+v, %v", h, err)
			}
			body := make([]byte, h.Length)
			_, _ = io.ReadFull(conn, body)
			if code, _ := ws.ParseCloseFrameData(body); code != ws.StatusProtocolError {
				t.Errorf("closed with %d, want 1002", code)
			}
			for _, encoding := range []string{"gzip", "deflate, br, zstd"} {
				r := anAttach
				r.headers += "\nAccept-Encoding: " + encoding
				response := w.send(r)
				if got := response.Header.Get("Content-Encoding"); got != "" {
					t.Errorf("the answer is encoded with %s", got)
				}
				_ = response.Body.Close()
			}
		})
	})
}

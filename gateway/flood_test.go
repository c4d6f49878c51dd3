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

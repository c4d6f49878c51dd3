package gateway

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// badFrame is what a peer sends, and the close code with which that ends.
type badFrame struct {
	bytes []byte
	code  ws.StatusCode
}

// masked are frames as a client writes them.
func masked(frames ...ws.Frame) (b []byte) {
	for _, f := range frames {
		b = append(b, ws.MustCompileFrame(ws.MaskFrame(f))...)
	}
	return b
}

// badFrames are frames that RFC 6455 forbids (sections 5 and 7.4, and RFC 3629 for UTF-8).
func badFrames() map[string]badFrame {
	all := map[string]badFrame{}
	text, part := func(s string) ws.Frame { return ws.NewTextFrame([]byte(s)) }, func(op ws.OpCode, fin bool, s string) ws.Frame { return ws.NewFrame(op, fin, []byte(s)) }
	for bits := range 7 {
		for _, f := range []ws.Frame{text("{}"), part(ws.OpText, false, "{"), ws.NewPingFrame(nil), ws.NewPongFrame(nil), ws.NewCloseFrame(nil)} {
			f.Header.Rsv = byte(bits + 1)
			all[fmt.Sprintf("reserved bits %03b on %d, fin %v", bits+1, f.Header.OpCode, f.Header.Fin)] = badFrame{masked(f), ws.StatusProtocolError}
		}
		rest := part(ws.OpContinuation, true, "}")
		rest.Header.Rsv = byte(bits + 1)
		all[fmt.Sprintf("reserved bits %03b on the last part", bits+1)] = badFrame{masked(part(ws.OpText, false, "{"), rest), ws.StatusProtocolError}
	}
	for _, op := range []ws.OpCode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all[fmt.Sprintf("opcode %d", op)] = badFrame{masked(part(op, true, "")), ws.StatusProtocolError}
		all[fmt.Sprintf("opcode %d amid a message", op)] = badFrame{masked(part(ws.OpText, false, "{"), part(op, true, "}")), ws.StatusProtocolError}
	}
	for _, f := range []ws.Frame{text("{}"), part(ws.OpText, false, ""), part(ws.OpContinuation, true, ""), ws.NewPingFrame(nil), ws.NewPongFrame(nil), ws.NewCloseFrame(nil)} {
		all[fmt.Sprintf("unmasked %d, fin %v", f.Header.OpCode, f.Header.Fin)] = badFrame{ws.MustCompileFrame(f), ws.StatusProtocolError}
	}
	for _, op := range []ws.OpCode{ws.OpClose, ws.OpPing, ws.OpPong} {
		all[fmt.Sprintf("control %d in parts", op)] = badFrame{masked(part(op, false, ""), part(ws.OpContinuation, true, "")), ws.StatusProtocolError}
		for _, n := range []uint64{126, 1 << 16, 1 << 62} { // announced: they need not come
			length := binary.BigEndian.AppendUint64([]byte{0x80 | 127}, n)
			if n < 1<<16 {
				length = binary.BigEndian.AppendUint16([]byte{0x80 | 126}, uint16(n))
			}
			all[fmt.Sprintf("control %d of %d bytes", op, n)] = badFrame{slices.Concat([]byte{0x80 | byte(op)}, length, []byte{1, 2, 3, 4}), ws.StatusProtocolError}
		}
	}
	for _, s := range []string{"\xff", "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "é\xcc", "\xc0\x80"} {
		all[fmt.Sprintf("the text %q", s)] = badFrame{masked(text(`{"op":"ping","x":"` + s + `"}`)), ws.StatusInvalidFramePayloadData}
		for cut := range len(s) {
			all[fmt.Sprintf("the text %q cut at %d", s, cut)] = badFrame{masked(part(ws.OpText, false, s[:cut]), part(ws.OpContinuation, true, s[cut:])), ws.StatusInvalidFramePayloadData}
		}
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535} {
		all[fmt.Sprintf("close %d", code)] = badFrame{masked(part(ws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, code)))), ws.StatusProtocolError}
	}
	for _, body := range []string{"\x03", "\x03\xe8\xff", "\x03\xe8\xc0\x80"} {
		all[fmt.Sprintf("close %q", body)] = badFrame{masked(part(ws.OpClose, true, body)), ws.StatusProtocolError}
	}
	return all
}

// What follows a bad frame is not carried out, and nobody else notices.
func TestBadFramesEndTheirConnectionOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.want("proof")
		publish := masked(ws.NewTextFrame([]byte(`{"op":"publish","channel":"b","data":1}`)))
		healthy.withstands(func() {
			for name, bad := range badFrames() {
				for _, greets := range []bool{true, false} {
					l := w.dialWebSocket("/v1/attach")
					if greets {
						l.sendText(`{"op":"hello","channels":{}}`)
						l.want("welcome")
					}
					var wg sync.WaitGroup
					wg.Go(func() { _, _ = l.conn.Write(slices.Concat(bad.bytes, publish)) }) // ends with the connection
					if end := l.wantEnd(); end != (closed{code: int(bad.code)}) {
						t.Errorf("%s, greets %v: got %v, want the code %d", name, greets, end, bad.code)
					}
					l.hangUp()
					wg.Wait()
				}
			}
		})
		if got := w.history("b"); len(got) > 0 {
			t.Errorf("%d messages were stored", len(got))
		}
	})
}

// RFC 6455, section 5.6: it is the whole message that is UTF-8.
func TestACharacterMayBeCutByParts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(protocol.WebSocket, aHello)
		defer l.hangUp()
		const text = `{"op":"publish","channel":"a","cid":1,"data":"é€𝄞"}`
		for _, b := range []byte(text[:len(text)-1]) {
			op := ws.OpContinuation
			if b == '{' {
				op = ws.OpText
			}
			l.sendFrame(ws.NewFrame(op, false, []byte{b}))
		}
		l.sendFrame(ws.NewFrame(ws.OpContinuation, true, []byte("}")))
		l.collectReplyAndMessage(t)
		equal(t, "stored", w.history("a"), []string{`"é€𝄞"`})
	})
}

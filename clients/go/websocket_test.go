package fairlead

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/protocol"
)

// TestAnUpgradeBySomebodyElseIsNoWebSocket answers 101 to what it does not understand.
func TestAnUpgradeBySomebodyElseIsNoWebSocket(t *testing.T) {
	for _, header := range []string{
		"Sec-WebSocket-Accept: nonsense\r\nSec-WebSocket-Protocol: fairlead.v1\r\n",
		"Sec-WebSocket-Protocol: fairlead.v1\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			f, c := newFake(t, Options{})
			f.publish("a")
			f.fault = func(transport protocol.Transport, _ int, out *outlet) bool {
				if transport != protocol.WebSocket {
					return false
				}
				conn, buffered, _ := http.NewResponseController(out.w).Hijack()
				fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s\r\n", header)
				_ = buffered.Flush()
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
				return true
			}
			begun := time.Now()
			sub := follow(t, c, fromStart)
			sub.until(1, time.Minute)
			sub.want("a", "-websocket +sse")
			if took := time.Since(begun); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestPingsAreAnsweredAndFragmentsAndBinariesAreNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		var pong wsutil.Message
		f.fault = func(_ protocol.Transport, _ int, out *outlet) bool {
			if f.open(out) != nil {
				return true
			}
			f.welcome(out)
			_ = ws.WriteFrame(out.conn, ws.NewPingFrame([]byte("ping")))
			if got, err := wsutil.ReadClientMessage(out.conn, nil); err == nil {
				pong = got[0]
			}
			_ = ws.WriteFrame(out.conn, ws.NewBinaryFrame([]byte("what is this?")))
			b := f.log[0].Wire().JSON()
			_ = ws.WriteFrame(out.conn, ws.NewFrame(ws.OpText, false, b[:10]))
			_ = ws.WriteFrame(out.conn, ws.NewFrame(ws.OpContinuation, true, b[10:]))
			out.await()
			return true
		}
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		sub.want("a", "+websocket")
		if pong.OpCode != ws.OpPong || string(pong.Payload) != "ping" {
			t.Errorf("got %+v", pong)
		}
	})
}

// gone is the connection of a server that has said its last.
type gone struct{ io.Reader }

func (gone) Write([]byte) (int, error) { return 0, net.ErrClosed }
func (gone) Close() error              { return nil }

func TestACloseIsHeardThoughItCannotBeAnswered(t *testing.T) {
	for code, want := range map[ws.StatusCode]verdict{4401: rejected, 4419: rejected, 4403: fatal, 4410: blocked, 1000: blocked} {
		frame, err := ws.CompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "why")))
		if err != nil {
			t.Fatal(err)
		}
		s := newSocketSource(&socket{ReadWriteCloser: gone{bytes.NewReader(frame)}, pulse: func() {}})
		if _, err = s.next(); judge(err, false) != want || code != 1000 && !strings.Contains(err.Error(), "why") {
			t.Errorf("%d is %v", code, err)
		}
	}
}

func TestAClosingHandshakeInOrderIsNoError(t *testing.T) {
	for code, inOrder := range map[ws.StatusCode]bool{1000: true, 1012: true, 1011: false, 4400: false} {
		err := closeError(wsutil.ClosedError{Code: code, Reason: "why"})
		if (err == io.EOF) != inOrder || !inOrder && !strings.Contains(err.Error(), "why") {
			t.Errorf("%d is %v", code, err)
		}
	}
}

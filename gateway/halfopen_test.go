package gateway

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// Hundreds that begin to attach and go no further, in every way in which that
// can be done, take the places that there are, and for so long that a healthy
// client hardly notices.
func TestHalfOpenAttachesEndBySoon(t *testing.T) {
	const attempts, places = 500, 300
	ways := map[string]string{
		"no hello":          handshakeText + "\r\n",
		"half a hello":      handshakeText + "\r\n\x81\xfe\x00\xc8\x00\x00\x00\x00{\"op\":",
		"no body":           "POST /v1/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"half a body":       "POST /v1/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"channels\"",
		"no end of a chunk": "POST /v1/attach HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
	}
	for name, text := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{Limits: Limits{Attachments: places}}, broker.Options{})
				healthy := w.attach(protocol.WebSocket, aHello)
				defer healthy.hangUp()
				healthy.want("proof")
				before := heap()
				var conns []net.Conn
				for range attempts {
					conn := w.dial()
					conns = append(conns, conn)
					go func() { // ends with the connection
						_, _ = io.WriteString(conn, text)
						_, _ = io.Copy(io.Discard, conn)
					}()
				}
				synctest.Wait()
				if n := w.g.admission.attached.Load(); n != places {
					t.Errorf("%d places are taken, want %d", n, places)
				}
				w.wantRefused(anAttach, protocol.Unavailable, "attachments")
				healthy.wantServed()
				time.Sleep(40 * time.Second) // helloTimeout, or BodyStall, and some
				if n := w.g.admission.attached.Load(); n != 1 {
					t.Errorf("%d places are taken, want the healthy one", n)
				}
				w.attach(protocol.SSE, aHello).hangUp()
				for _, conn := range conns {
					_ = conn.Close()
				}
				conns = nil
				healthy.sendText(`{"op":"beat"}`)
				healthy.wantServed()
				time.Sleep(time.Second)
				wantMemoryBack(t, before)
			})
		})
	}
}

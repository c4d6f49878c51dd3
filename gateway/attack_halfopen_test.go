package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// halfOpen are beginnings of an attach that go no further, by what is missing.
var halfOpen = map[string]string{
	"no hello":          handshakeText + "\r\n",
	"half a hello":      handshakeText + "\r\n\x81\xfe\x00\xc8\x00\x00\x00\x00{\"op\":",
	"no body":           "POST /v1/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
	"half a body":       "POST /v1/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"channels\"",
	"no end of a chunk": "POST /v1/attach HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
}

// halfOpens connects n times, and begins to attach in that way. What it returns hangs up.
func (w *world) halfOpens(n int, text string) (hangUp func()) {
	var conns []net.Conn
	var wg sync.WaitGroup
	for range n {
		conn := w.dial()
		conns = append(conns, conn)
		wg.Go(func() { // ends with the connection
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
		wg.Wait()
	}
}

// Thousands that begin to attach and go no further, in every way at the same
// time, and with the limits that there are by default: nobody hears of it.
func TestTenThousandHalfOpenAttachesHurtNobody(t *testing.T) {
	const attempts = 10_000
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		healthy := w.healthy()
		defer healthy.hangUp()
		haveHadGoroutines(3 * attempts)
		healthy.withstands(func() {
			var hangUps []func()
			for _, text := range halfOpen {
				hangUps = append(hangUps, w.halfOpens(attempts/len(halfOpen), text))
			}
			synctest.Wait()
			if n := w.g.door.Taken().Places; n != attempts+1 {
				t.Errorf("%d places are taken, want %d", n, attempts+1)
			}
			healthy.wantServed()
			w.attach(protocol.SSE, helloAs(w.token("new", chat), `"channels":{"chat.1":{}}`)).hangUp()
			time.Sleep(40 * time.Second) // helloTimeout, or BodyStall, and some
			if n := w.g.door.Taken().Places; n != 1 {
				t.Errorf("%d places are taken, want the healthy one", n)
			}
			if n := w.timesRefused("body_stall"); n != attempts/5*4 { // all but those that did not even begin
				t.Errorf("%v stalls were counted", n)
			}
			for _, hangUp := range hangUps {
				hangUp()
			}
			healthy.sendText(`{"op":"beat"}`)
		})
	})
}

// haveHadGoroutines has so many at a time: Go's runtime keeps half a KiB of each, which is nobody's leak.
func haveHadGoroutines(n int) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for range n {
		wg.Go(func() { <-gate })
	}
	close(gate)
	wg.Wait()
}

// Where there are fewer places than that, they are free again so soon that a client hardly notices.
func TestHalfOpenAttachesEndBySoon(t *testing.T) {
	const attempts, places = 500, 300 // half of which are for clients of whom it is known who they are
	for name, text := range halfOpen {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, Options{Limits: Limits{Attachments: places}}, broker.Options{})
				healthy := w.attach(protocol.WebSocket, aHello)
				defer healthy.hangUp()
				healthy.want("proof")
				healthy.withstands(func() {
					hangUp := w.halfOpens(attempts, text)
					synctest.Wait()
					if n := w.g.door.Taken().Places; n != places/2+1 {
						t.Errorf("%d places are taken, want %d", n, places/2+1)
					}
					w.wantRefused(anAttach, protocol.Unavailable, "attachments")
					healthy.wantServed()
					time.Sleep(40 * time.Second)
					if n := w.g.door.Taken().Places; n != 1 {
						t.Errorf("%d places are taken, want the healthy one", n)
					}
					w.attach(protocol.SSE, aHello).hangUp()
					hangUp()
					healthy.sendText(`{"op":"beat"}`)
				})
			})
		})
	}
}

// A connection that is opened and says nothing, or not enough to be a request, takes no place, and ends with its client.
func TestConnectionsThatAskNothingTakeNoPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Attachments: 2}}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.want("proof")
		healthy.withstands(func() {
			for _, text := range []string{"", "G", "GET /v1/attach HTTP/1.1\r\nHost: x\r\nX: ", handshakeText} {
				hangUp := w.halfOpens(500, text)
				synctest.Wait()
				w.attach(protocol.SSE, aHello).hangUp()
				hangUp()
			}
		})
	})
}

// Each is good, and gone before it is answered.
func TestClientsThatComeAndGoLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Attaches: -1}}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.want("proof")
		const get = "GET /v1/attach?channel=a&channel=%s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\n\r\n"
		healthy.withstands(func() {
			for i, media := range slices.Repeat([]string{protocol.MediaSSE, protocol.MediaStream, protocol.MediaJSON}, 500) {
				conn := w.dial()
				if _, err := fmt.Fprintf(conn, get, fmt.Sprintf("c.%d", i), media); err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
			}
			for range 500 {
				conn := w.dial()
				if _, err := io.WriteString(conn, strings.Replace(handshakeText, "attach", "attach?channel=a", 1)+"\r\n"); err != nil {
					t.Fatal(err)
				}
				if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode != 101 {
					t.Fatalf("got %+v, %v", response, err)
				}
				_ = conn.Close()
			}
		})
	})
}

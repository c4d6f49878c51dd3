package gateway

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// recorded keeps each write of the server.
type recorded struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte // guarded by mu
}

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// dialRecorded connects to the world, for the test's length.
func (w *world) dialRecorded() (net.Conn, *recorded) {
	near, far := net.Pipe()
	w.t.Cleanup(func() { _ = near.Close() })
	server := &recorded{Conn: far}
	w.listener.conns <- server
	return near, server
}

// What a client waits for first leaves in one piece: the prelude, the welcome, and what the tail has for it.
func TestTheFirstMessageLeavesWithTheWelcome(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", `"first"`)
		conn, server := w.dialRecorded()
		before := 0
		if transport == protocol.WebSocket {
			l := w.handshake(conn, "/v1/attach", "")
			before = 1 // the handshake's answer
			l.sendText(`{"op":"hello","channels":{"a":{"after":"0"}}}`)
			l.want("welcome")
			equal(t, "what came", l.collect(1), []string{`"first"`})
		} else {
			w.rawAttach(conn, transport)
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		if len(server.writes) != before+1 {
			t.Fatalf("the server wrote %d times", len(server.writes))
		}
		first := server.writes[before]
		for _, part := range []string{`"op":"welcome"`, `"first"`} {
			if !bytes.Contains(first, []byte(part)) {
				t.Errorf("the first write has no %s: %q", part, first)
			}
		}
		t.Logf("%s: %d bytes", transport, len(first))
	})
}

// rawAttach reads an answer to a GET up to the first message.
func (w *world) rawAttach(conn net.Conn, transport protocol.Transport) {
	w.t.Helper()
	accept := map[protocol.Transport]string{protocol.SSE: protocol.MediaSSE, protocol.Stream: protocol.MediaStream, protocol.Poll: protocol.MediaJSON}[transport]
	if _, err := io.WriteString(conn, "GET /v1/attach?channel=a&after=0 HTTP/1.1\r\nHost: fairlead\r\nAccept: "+accept+"\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	var got []byte
	for buf := make([]byte, 16<<10); !bytes.Contains(got, []byte(`"first"`)); {
		n, err := conn.Read(buf)
		if err != nil {
			w.t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, buf[:n]...)
	}
}

package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// report reports the median and the 99th percentile.
func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, what+"-median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, what+"-p99-ms")
}

// BenchmarkAttach is from the request, over a new connection or a warm one, to the whole welcome.
func BenchmarkAttach(b *testing.B) {
	for _, transport := range []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Poll} {
		b.Run(string(transport), func(b *testing.B) {
			w := newRealWorld(b, Options{}, broker.Options{})
			w.publish("a", 1)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				l := w.attach(transport, `{"wait":0,"channels":{"a":{}}}`)
				took = append(took, time.Since(began))
				l.hangUp()
			}
			report(b, "attach", took)
		})
	}
}

// BenchmarkPublish is 64 clients that each wait for the acknowledgement before the next message.
func BenchmarkPublish(b *testing.B) {
	for _, transport := range []string{"http", "websocket"} {
		b.Run(transport, func(b *testing.B) {
			const clients = 64
			w := newRealWorld(b, Options{Limits: Limits{Publishes: -1, Commands: -1}}, broker.Options{})
			send := make([]func() error, clients)
			for i := range send {
				if transport == "http" {
					send[i] = httpPublisher(b, w)
				} else {
					send[i] = webSocketPublisher(b, w)
				}
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for _, send := range send {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := send(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

const benchMessage = `{"type":"token","data":{"text":"about as much as a message in a chat holds, with some fields around it"}}`

// httpPublisher posts over one connection. It costs the least that it can: the two processors are the server's as well.
func httpPublisher(b *testing.B, w *world) func() error {
	conn := w.dial()
	b.Cleanup(func() { _ = conn.Close() })
	request := fmt.Appendf(nil, "POST /v1/channels/bench.1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(benchMessage), benchMessage)
	reader := bufio.NewReader(conn)
	return func() error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusCreated {
			return fmt.Errorf("got %s", response.Status)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

func webSocketPublisher(b *testing.B, w *world) func() error {
	l := w.attach(protocol.WebSocket, `{"channels":{}}`)
	b.Cleanup(l.hangUp)
	command := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"op":"publish","cid":1,"channel":"bench.1",` + benchMessage[1:]))))
	return func() error {
		if _, err := l.conn.Write(command); err != nil {
			return err
		}
		if f := l.want("reply"); !f.OK {
			return fmt.Errorf("got %s", f.raw)
		}
		return nil
	}
}

// BenchmarkDelivery is from before the publish to the message at one WebSocket, at 400 messages a second.
func BenchmarkDelivery(b *testing.B) {
	w := newRealWorld(b, Options{}, broker.Options{})
	l := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
	l.want("proof")
	began := make(chan time.Time, 1)
	var took []time.Duration
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(time.Second / 400)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		began <- time.Now()
		wg.Go(func() { w.publish("a", benchMessage) })
		l.want("message")
		took = append(took, time.Since(<-began))
	}
	report(b, "delivery", took)
}

// BenchmarkFanout is one message to 1,000 clients, until the last has it.
func BenchmarkFanout(b *testing.B) {
	for _, transport := range []protocol.Transport{protocol.WebSocket, protocol.SSE} {
		b.Run(string(transport), func(b *testing.B) {
			const clients = 1000
			w := newRealWorld(b, Options{}, broker.Options{})
			got := make(chan struct{}, clients)
			var wg sync.WaitGroup
			defer wg.Wait()
			for range clients {
				conn := w.attachRaw(b, transport)
				defer func() { _ = conn.Close() }()
				wg.Go(func() { countMessages(conn, got) })
			}
			for range clients {
				<-got // the proof: nothing but messages comes from here on
			}
			b.ResetTimer()
			for b.Loop() {
				w.publish("a", benchMessage)
				for range clients {
					<-got
				}
			}
			b.ReportMetric(float64(b.N)*clients/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// attachRaw attaches and reads nothing.
func (w *world) attachRaw(b *testing.B, transport protocol.Transport) net.Conn {
	if transport == protocol.WebSocket {
		l := w.dialWebSocket("/v1/attach")
		l.sendText(`{"op":"hello","beat":60000,"channels":{"a":{}}}`)
		return l.conn
	}
	conn := w.dial()
	if _, err := io.WriteString(conn, "GET /v1/attach?channel=a&beat=60000 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	return conn
}

// countMessages tells of each proof and message, without the cost of parsing them.
func countMessages(conn net.Conn, got chan<- struct{}) {
	buf := make([]byte, 8<<10)
	for {
		n, err := conn.Read(buf)
		for range bytes.Count(buf[:n], []byte(`{"op":"proof"`)) + bytes.Count(buf[:n], []byte(`{"op":"message"`)) {
			got <- struct{}{}
		}
		if err != nil {
			return
		}
	}
}

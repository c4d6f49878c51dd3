package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// manyChannels publishes one message to each of n channels.
func (w *world) manyChannels(n int) {
	w.t.Helper()
	batch := make([]broker.Publication, 1000)
	for i := 0; i < n; i += len(batch) {
		for j := range batch {
			batch[j] = broker.Publication{Channel: fmt.Sprintf("c%d.%d", i+j, j), Payload: []byte("1")}
		}
		if _, err := w.broker.PublishBatch(w.t.Context(), batch); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A pattern that matches a great many channels, or looks through all of them and
// matches none, costs no more memory than one that matches a few, and its answer
// does not take long. (By hand, with a million channels: 1.6 s at most, and 100 MiB
// in which NATS keeps the subjects for two minutes, however many clients ask.)
func TestAPatternOfManyChannelsCostsNoMore(t *testing.T) {
	const (
		channels = 100_000 / slowdown / slowdown
		most     = 10 * time.Second
		slack    = 12 << 20 // the tail, what is read at a time, and the subjects
	)
	w := newRealWorld(t, Options{}, broker.Options{TailBytes: 1 << 20, PublishTimeout: time.Minute})
	healthy := w.attach(protocol.WebSocket, aHello)
	defer healthy.hangUp()
	healthy.want("proof")
	w.manyChannels(channels)
	healthy.wantServed() // the tail has come to the log's end
	before := heap()
	turn := 0
	for _, pattern := range []string{">", "*.*", "*.7", "*.>", "none.*", "*.*.*"} {
		matches := pattern != "none.*" && pattern != "*.*.*"
		for _, start := range []string{`{}`, `{"after":"0"}`, `{"last":10000}`} {
			transport := protocol.Transports()[turn%4]
			turn++
			began := time.Now()
			l := w.attach(transport, `{"wait":0,"channels":{"`+pattern+`":`+start+`}}`)
			if matches && start != `{}` {
				l.want("message")
			} else if transport != protocol.Poll {
				l.want("proof")
			}
			if took := time.Since(began); took > most {
				t.Errorf("%s %s %s: took %v", transport, pattern, start, took)
			}
			if now := heap(); now > before+slack {
				t.Errorf("%s %s %s: the heap was %d KiB and is %d KiB", transport, pattern, start, before>>10, now>>10)
			}
			l.hangUp()
		}
	}
	healthy.wantServed()
}

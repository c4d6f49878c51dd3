package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// heap is what is in use after a collection.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// DESIGN.md, promise 6: 50 MB flow through the channel of clients that read
// nothing. They cost what their connections' buffers hold, hold nobody up, and
// get everything when they read again.
func TestASlowClientCostsACursorAndNotAQueue(t *testing.T) {
	const (
		tail     = 2 << 20 / slowdown
		messages = 800 / slowdown
		size     = 64 << 10
		bound    = 40 << 20 / slowdown // the tail, and what is on its way to four clients; a queue would hold messages*size, which is 50 MiB
	)
	w := serveLoopback(t, openBroker(t, broker.Options{URL: startNATS(t), TailBytes: tail}), Options{})
	filler := strings.Repeat("x", size)
	began := heap()
	flow := func() (most int) {
		fast := w.attach(protocol.WebSocket, `{"channels":{"a":{}}}`)
		defer fast.hangUp()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for i := range messages {
				w.publish("a", fmt.Sprintf("%04d%s", i, filler))
			}
		})
		wantAll(fast, messages, func(i int) {
			if i%100 == 50 {
				most = max(most, heap())
			}
		})
		return most
	}
	var slow []*link
	for _, transport := range streams {
		slow = append(slow, w.attach(transport, `{"channels":{"a":{}}}`))
	}
	grown := flow() - began
	t.Logf("the heap has grown by %d KiB", grown>>10)
	if grown > bound {
		t.Errorf("the heap has grown by %d KiB, want at most %d", grown>>10, bound>>10)
	}
	for _, l := range slow {
		if w.g.attachment(l.welcome.Attachment) == nil {
			t.Errorf("the slow client on %s was cut off", l.transport)
		}
		wantAll(l, messages, func(int) {})
		l.hangUp()
	}
	if s := w.broker.Stats(); s.CatchUpsFromLog == 0 || s.TailBytes > tail+2*size {
		t.Errorf("nobody had to read the stored log, so this shows nothing: %+v", s)
	}
}

// wantAll reads messages that begin with their number, each once and in order.
func wantAll(l *link, n int, each func(i int)) {
	l.w.t.Helper()
	for i := range n {
		f := l.want("message")
		if want := fmt.Sprintf(`"%04d`, i); !strings.HasPrefix(string(f.Data), want) {
			l.w.t.Fatalf("%s: message %d begins with %.10s", l.transport, i, f.Data)
		}
		each(i)
	}
}

// Messages of the largest size, one after the other: what is taken for a client at a time is bounded by bytes too.
func TestLargeMessagesDoNotPileUpForASlowClient(t *testing.T) {
	const clients = 30
	w := serveLoopback(t, openBroker(t, broker.Options{URL: startNATS(t), TailBytes: 16 << 20}), Options{})
	filler := strings.Repeat("x", 200<<10)
	for i := range 40 {
		w.publish("a", fmt.Sprintf("%04d%s", i, filler))
	}
	before := heap()
	var links []*link
	for i := range clients {
		links = append(links, w.attach(streams[i%3], `{"channels":{"a":{"after":"0"}}}`))
	}
	for _, l := range links {
		wantAll(l, 1, func(int) {})
	}
	grown := heap() - before
	t.Logf("the heap has grown by %d KiB", grown>>10)
	if each := grown / clients; each > 2<<20 { // 40 messages are 8 MiB
		t.Errorf("each client costs %d KiB", each>>10)
	}
	for _, l := range links {
		l.hangUp()
	}
}

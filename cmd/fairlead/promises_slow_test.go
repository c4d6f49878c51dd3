package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// TestPromise6ASlowClientCostsACursor lets 50 MB flow past clients that read 1
// KB a second. The process hardly grows, a client that does read has each
// message before the next is published, and the slow ones get all of it in the end.
func TestPromise6ASlowClientCostsACursor(t *testing.T) {
	const most = 24 << 20 // less than half of what flows
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	ctx := bounded(t)
	// An embedded JetStream keeps what was stored in the last ten seconds in memory, so here it is in this process.
	s := newSite(t, "--nats", startNATS(t), "--tail-bytes=4MiB")
	client := clientBy(t, s.dial)
	f := flow{client: client, seen: make(chan string, 100)}
	fast := &bare{doors: []door{{client, protocol.WebSocket}}, channels: []string{"load.flow"}}
	go func() { // ends with ctx
		_ = fast.follow(ctx, func(m frame) bool {
			if m.Op == protocol.OpMessage {
				f.seen <- m.ID
			}
			return true
		})
	}()
	f.run(ctx, t, 50) // so that what any flow costs is spent
	before := resident(t, s)
	start := f.ids[len(f.ids)-1]
	f.ids = nil

	released := make(chan struct{})
	outcomes := make(chan slowOutcome)
	attached := make(chan struct{})
	slow := []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Stream}
	for _, transport := range slow {
		b := &bare{doors: []door{{clientBy(t, slowly(s.dial, released)), transport}}, channels: []string{"load.flow", endChannel}, cursor: start}
		o := slowOutcome{transport: transport}
		go func() { // ends with ctx
			o.err = b.follow(ctx, func(m frame) bool {
				switch {
				case m.Op == protocol.OpWelcome:
					attached <- struct{}{}
				case m.Op == protocol.OpGap:
					o.ids = append(o.ids, eventOf(m))
				case m.Channel == endChannel:
					return false
				case m.Op == protocol.OpMessage:
					o.ids = append(o.ids, m.ID)
				}
				return true
			})
			outcomes <- o
		}()
	}
	for range slow {
		<-attached
	}
	f.run(ctx, t, 50)
	after := resident(t, s)
	post(t, client, endChannel, "0")
	t.Logf("resident before: %d KiB, after: %d KiB", before>>10, after>>10)
	if after-before > most {
		t.Errorf("the process grew by %d KiB, want at most %d", (after-before)>>10, most>>10)
	}
	select {
	case o := <-outcomes:
		t.Fatalf("the slow client by %s was not slow: %v after %d messages", o.transport, o.err, len(o.ids))
	default:
	}
	close(released)
	for range slow {
		o := <-outcomes
		if o.err != nil {
			t.Errorf("the slow client by %s: %v, after %d messages", o.transport, o.err, len(o.ids))
		} else if !slices.Equal(o.ids, f.ids) {
			t.Errorf("the slow client by %s got %d messages: they are not the %d that were stored, in their order", o.transport, len(o.ids), len(f.ids))
		}
	}
}

// TestADrainSendsWhatIsOwedFirst ends the process by SIGTERM while clients are
// far behind: each gets all that was published, and then the goaway.
func TestADrainSendsWhatIsOwedFirst(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	s := newSite(t, "--data", t.TempDir(), "--drain=1ms")
	client := clientBy(t, s.dial)
	start := post(t, client, "load.flow", "0")
	f := flow{client: client, seen: make(chan string, 100)}
	drained := make(chan struct{})
	released := make(chan struct{})
	fast := &bare{doors: []door{{client, protocol.WebSocket}}, channels: []string{"load.flow"}, cursor: start}
	go func() { // ends with the drain, or ctx
		defer close(drained)
		_ = fast.follow(ctx, func(m frame) bool {
			if m.Op == protocol.OpMessage {
				f.seen <- m.ID
			}
			return m.Op != protocol.OpGoaway
		})
	}()
	outcomes := make(chan slowOutcome)
	transports := []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Stream}
	for _, transport := range transports {
		b := &bare{doors: []door{{clientBy(t, slowly(s.dial, released)), transport}}, channels: []string{"load.flow"}, cursor: start}
		at, err := b.attach(ctx)
		if err != nil {
			t.Fatal(err)
		}
		at.await(t, protocol.OpWelcome)
		go func() { // ends with the attachment
			defer at.close()
			o := slowOutcome{transport: transport}
			for m, err := at.next(); ; m, err = at.next() {
				if err != nil || m.Op == protocol.OpGoaway {
					o.err = err
					break
				}
				if m.Op == protocol.OpMessage {
					o.ids = append(o.ids, m.ID)
				}
			}
			outcomes <- o
		}()
	}
	f.run(ctx, t, 20)
	status := make(chan int, 1)
	go func() { status <- s.stop() }()
	<-drained
	close(released)
	for range transports {
		o := <-outcomes
		if o.err != nil || !slices.Equal(o.ids, f.ids) {
			t.Errorf("the client by %s got %d of %d messages, and then %v", o.transport, len(o.ids), len(f.ids), o.err)
		}
	}
	if code := <-status; code != 0 {
		t.Errorf("the status is %d", code)
	}
}

// slowOutcome is what came to a slow client.
type slowOutcome struct {
	transport protocol.Transport
	ids       []string
	err       error
}

// flow is what is published, 1 MB at a time, and has come to a client that reads.
type flow struct {
	client *http.Client
	seen   chan string
	ids    []string
}

func (f *flow) run(ctx context.Context, t *testing.T, megabytes int) {
	t.Helper()
	const messages = 20
	one := `{"data":"` + strings.Repeat("x", 1<<20/messages) + `"}`
	body := "[" + one + strings.Repeat(","+one, messages-1) + "]"
	for range megabytes {
		var r receipt
		if err := call(ctx, f.client, "channels/load.flow/messages", "application/json", body, &r); err != nil {
			t.Fatal(err)
		}
		for _, stored := range r.IDs {
			select {
			case id := <-f.seen:
				if id != stored.ID {
					t.Fatalf("the client that reads got %s, want %s", id, stored.ID)
				}
			case <-ctx.Done():
				t.Fatalf("the client that reads waits for %s: %v", stored.ID, context.Cause(ctx))
			}
			f.ids = append(f.ids, stored.ID)
		}
	}
}

// slowly makes connections that read 1 KB a second until they are released.
func slowly(dial dialFunc, released <-chan struct{}) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &slowConn{Conn: conn, released: released, free: 8 << 10}, nil
	}
}

type slowConn struct {
	net.Conn
	released <-chan struct{}
	free     int // bytes to be attached with
}

func (c *slowConn) Read(p []byte) (int, error) {
	if c.free > 0 {
		n, err := c.Conn.Read(p[:min(len(p), 512)])
		c.free -= n
		return n, err
	}
	select {
	case <-c.released:
		return c.Conn.Read(p)
	case <-time.After(time.Second):
		return c.Conn.Read(p[:min(len(p), 1<<10)])
	}
}

// resident is the memory of the process, in bytes.
func resident(t *testing.T, s *site) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

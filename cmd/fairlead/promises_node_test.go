package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/fairlead/fairlead/protocol"
)

// startNATS starts a NATS with JetStream in this process, and returns its URL.
func startNATS(t *testing.T) string {
	t.Helper()
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() {
		nats.Shutdown()
		nats.WaitForShutdown()
	})
	if !nats.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS did not start")
	}
	return nats.ClientURL()
}

// twoNodes are two gateways on one NATS.
func twoNodes(t *testing.T) (a, b *site) {
	t.Helper()
	url := startNATS(t)
	return newSite(t, "--nats", url), newSite(t, "--nats", url)
}

// TestPromise5AnyNodeAnyTransportAnyTime has two nodes, of which one or the
// other is killed, and a client that is at another one of them, by another
// transport, every time it attaches.
func TestPromise5AnyNodeAnyTransportAnyTime(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	a, b := twoNodes(t)
	nodes := []*site{a, b}
	var travellers []*witness
	for first := range 4 {
		cuts := &cutter{random: rand.New(rand.NewPCG(5, uint64(first))), doublings: 12}
		traveller := &bare{channels: []string{"load.>"}, turn: first}
		for i, transport := range protocol.Transports() {
			for j := range nodes {
				dial := cuts.of(nodes[(i+j)%2].dialNow)
				traveller.doors = append(traveller.doors, door{clientBy(t, dial), transport})
			}
		}
		travellers = append(travellers, traveller.watch(ctx, fmt.Sprintf("traveller %d", first)))
	}
	clients := []*http.Client{clientBy(t, a.dial), clientBy(t, b.dial)}
	load := startLoad(ctx, t, 8, 800, clients...)
	for _, node := range []*site{a, b} {
		load.await(ctx, t)
		node.kill()
		load.await(ctx, t)
		node.start()
	}
	load.await(ctx, t)
	stored := load.stop(t, clients[0])
	for _, w := range travellers {
		w.sawAll(t, stored)
	}
}

// TestPromise5CommandsReachAnAttachmentThroughAnyNode sends the commands of an
// attachment to the node that does not have it.
func TestPromise5CommandsReachAnAttachmentThroughAnyNode(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	a, b := twoNodes(t)
	here, there := clientBy(t, a.dial), clientBy(t, b.dial)
	for _, transport := range []protocol.Transport{protocol.SSE, protocol.Stream, protocol.WebSocket} {
		client := &bare{doors: []door{{here, transport}}, channels: []string{"load.1"}, cursor: post(t, there, "load.1", "0")}
		at, err := client.attach(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer at.close()
		welcome := at.await(t, protocol.OpWelcome)
		through := func(node *http.Client, command string) frame {
			t.Helper()
			var r receipt
			body := fmt.Sprintf(`{"session":%q,"attachment":%q,"commands":[%s]}`, welcome.Session, welcome.Attachment, command)
			if err := call(ctx, node, "commands", "application/json", body, &r); err != nil {
				t.Fatal(err)
			}
			return r.Replies[0]
		}
		if reply := through(there, `{"op":"subscribe","cid":1,"channel":"load.2"}`); !reply.OK {
			t.Fatalf("%s: the reply is %+v", transport, reply)
		}
		if f := at.await(t, "subscribed"); f.Channel != "load.2" {
			t.Errorf("%s: got %+v", transport, f)
		}
		id := post(t, there, "load.2", "2")
		if f := at.await(t, protocol.OpMessage); f.ID != id {
			t.Errorf("%s: got %+v, want %s", transport, f, id)
		}
		if reply := through(there, `{"op":"unsubscribe","cid":2,"channel":"load.2"}`); !reply.OK {
			t.Errorf("%s: the reply is %+v", transport, reply)
		}
		post(t, there, "load.2", "3")
		id = post(t, there, "load.1", "4")
		if f := at.await(t, protocol.OpMessage); f.ID != id {
			t.Errorf("%s: after unsubscribing got %+v, want %s", transport, f, id)
		}
		if reply := through(there, `{"op":"bye","cid":3}`); !reply.OK {
			t.Errorf("%s: the reply is %+v", transport, reply)
		}
		for _, err := at.next(); err == nil; _, err = at.next() {
		}
		for name, node := range map[string]*http.Client{"its own": here, "the other": there} {
			if reply := through(node, `{"op":"subscribe","cid":4,"channel":"load.2"}`); reply.Error.Code != "gone" {
				t.Errorf("%s: after bye, through %s node the reply is %+v", transport, name, reply)
			}
		}
	}
}

// await reads until a frame with the op comes. ctx of attach bounds it.
func (a *tap) await(t *testing.T, op string) frame {
	t.Helper()
	for {
		f, err := a.next()
		if err != nil {
			t.Fatalf("no %s came: %v", op, err)
		}
		if f.Op == op {
			return f
		}
	}
}

// TestPromise4OneKeyAtTwoNodes publishes each key at both nodes at the same time.
func TestPromise4OneKeyAtTwoNodes(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	a, b := twoNodes(t)
	clients := []*http.Client{clientBy(t, a.dial), clientBy(t, b.dial), clientBy(t, b.dial)}
	first := map[string]string{}
	for n := range 100 {
		key := fmt.Sprintf("k%d", n)
		var receipts [3]receipt
		var wg sync.WaitGroup
		for i, client := range clients {
			wg.Go(func() {
				if err := call(ctx, client, "channels/load.keys/messages", "application/json", keyed(key, fmt.Sprint(i)), &receipts[i]); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		wg.Wait()
		duplicates := 0
		for _, r := range receipts {
			if r.ID != receipts[0].ID {
				t.Fatalf("%s: got the ids %v", key, receipts)
			}
			if r.Duplicate {
				duplicates++
			}
		}
		if duplicates != 2 {
			t.Errorf("%s: %d of 3 publishes are called duplicates", key, duplicates)
		}
		first[receipts[0].ID] = key
	}
	for _, m := range history(t, clients[0], "load.keys") {
		if first[m.ID] != m.Key {
			t.Errorf("%s has the key %s: that is stored twice", m.ID, m.Key)
		}
	}
}

// dialNow connects to the process, or fails if there is none.
func (s *site) dialNow(ctx context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	address := s.address
	s.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// of is connect by another dial.
func (c *cutter) of(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.limit(dial(ctx, network, address))
	}
}

// TestADrainSendsAThousandStreamsAway ends the process by SIGTERM while a
// thousand clients are attached: each is told, has what it is owed, and the
// process ends well.
func TestADrainSendsAThousandStreamsAway(t *testing.T) {
	const streams, window = 1000, time.Second
	ctx := bounded(t)
	s := newSite(t, "--data", t.TempDir(), "--drain", window.String())
	client := clientBy(t, s.dial)
	start := post(t, client, "load.1", "0")
	var welcomed, gone sync.WaitGroup
	outcomes := make([]string, streams)
	cursors := make([]string, streams)
	gate := make(chan struct{}, 50) // connections being made
	for i := range streams {
		welcomed.Add(1)
		gone.Go(func() {
			b := &bare{doors: []door{{client, protocol.Transports()[i%3]}}, channels: []string{"load.1"}, cursor: start}
			gate <- struct{}{}
			at, err := b.attach(ctx)
			if err == nil {
				_, err = at.next()
				defer at.close()
			}
			<-gate
			welcomed.Done()
			for err == nil {
				var f frame
				if f, err = at.next(); err == nil && f.Op != protocol.OpProof && f.Op != protocol.OpBeat {
					outcomes[i] += f.Op + " "
				}
			}
			cursors[i] = b.cursor
		})
	}
	welcomed.Wait()
	last := post(t, client, "load.1", "1")
	// What one client has, the node knows that it owes to all.
	witness := &bare{doors: []door{{client, protocol.WebSocket}}, channels: []string{"load.1"}, cursor: start}
	if err := witness.follow(ctx, func(f frame) bool { return f.ID != last }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if status := s.stop(); status != 0 {
		t.Errorf("the status is %d", status)
	}
	took := time.Since(began)
	gone.Wait()
	t.Logf("the process ended after %v", took)
	if most := window + closeGrace; took > most {
		t.Errorf("the process took %v to end, want at most %v", took, most)
	}
	for i, outcome := range outcomes {
		if outcome != "message goaway " || cursors[i] != last {
			t.Fatalf("client %d, by %s, got %q and stands at %s, want the message, goaway and %s", i, protocol.Transports()[i%3], strings.TrimSpace(outcome), cursors[i], last)
		}
	}
}

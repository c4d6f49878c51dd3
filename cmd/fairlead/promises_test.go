package main

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

// The promises of a gateway, kept by processes that are killed.

// TestPromise1NothingAcknowledgedIsLost kills the gateway under load, again
// and again, and starts it on the same data. Every message that was
// acknowledged is there, once, and every client that was there sees all of
// them, once and in order.
func TestPromise1NothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	s := newSite(t, "--data", t.TempDir())
	witnesses := watchers(ctx, t, s.dial)
	client := clientBy(t, s.dial)
	load := startLoad(ctx, t, 16, 1000, client)
	for range 4 {
		load.await(ctx, t)
		s.kill()
		s.start()
	}
	load.await(ctx, t)
	acked := load.stop(t, client)
	for _, w := range witnesses {
		w.sawAll(t, acked)
	}
	for channel, want := range acked {
		var got []sighting
		for _, m := range history(t, client, channel) {
			got = append(got, sighting{m.Channel, m.ID, string(m.Data)})
		}
		if !slices.Equal(got, want) {
			t.Errorf("history of %s: %s", channel, difference(got, want))
		}
	}
}

// TestPromise2InOrderOnce cuts every connection of every client after so many
// bytes, wherever that is, while messages come: through all attachments, each
// sees each message once and in order. One of them moves from transport to
// transport with its cursor.
func TestPromise2InOrderOnce(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	s := newSite(t, "--data", t.TempDir())
	cuts := &cutter{dial: s.dial, random: rand.New(rand.NewPCG(1, 2)), doublings: 12}
	often := &cutter{dial: s.dial, random: rand.New(rand.NewPCG(3, 4)), doublings: 10} // too few bytes for a poll's largest answer: the next transport brings it
	var witnesses []*witness
	traveller := &bare{channels: []string{"load.>"}}
	for _, transport := range protocol.Transports() {
		library := &cutter{dial: s.dial, random: rand.New(rand.NewPCG(5, 6)), doublings: 12, most: 3} // it waits longer after each cut
		witnesses = append(witnesses, watchBy(ctx, clientBy(t, library.connect), transport, "load.>"))
		b := &bare{doors: []door{{clientBy(t, cuts.connect), transport}}, channels: []string{"load.>"}}
		witnesses = append(witnesses, b.watch(ctx, "bare client by "+string(transport)))
		traveller.doors = append(traveller.doors, door{clientBy(t, often.connect), transport})
	}
	witnesses = append(witnesses, traveller.watch(ctx, "traveller"))
	client := clientBy(t, s.dial)
	load := startLoad(ctx, t, 4, 3000, client)
	load.await(ctx, t)
	stored := load.stop(t, client)
	for _, w := range witnesses {
		w.sawAll(t, stored)
	}
	t.Logf("%d connections were cut, and %d of the traveller's", cuts.count(), often.count())
	if least := 2 * len(traveller.doors); traveller.turn < least {
		t.Errorf("the traveller attached %d times, want at least %d", traveller.turn, least)
	}
}

// cutter ends each connection after it has brought so many bytes.
type cutter struct {
	dial      dialFunc
	doublings int // of 64 bytes, to what a connection brings at most
	most      int // how many connections; 0: all

	mu     sync.Mutex // guards the following
	random *rand.Rand
	cut    int
}

func (c *cutter) connect(ctx context.Context, network, address string) (net.Conn, error) {
	return c.limit(c.dial(ctx, network, address))
}

func (c *cutter) limit(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.most > 0 && c.cut == c.most {
		return conn, nil
	}
	c.cut++
	room := 64 << c.random.IntN(c.doublings) // the middle of the headers, or more
	return &cutConn{Conn: conn, left: room + c.random.IntN(room)}, nil
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

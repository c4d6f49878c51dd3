package broker

import (
	"container/list"
	"context"
	"sync"
)

// A Client is for whom the log is read and written. Those with the same key are
// one. Its bounds are not there if they are 0.
type Client struct {
	Key           string // "": nobody else, and its subscriptions have no bounds
	Most          int    // turns at a time: reads of the stored log, and so on
	Subscriptions int    // of all its readers
	Patterns      int    // different ones that they follow
}

// turns gives out a few places: to the clients that wait for one in turn,
// however much each of them wants, and to what one client wants in the order in
// which it came. Everything in it takes constant time, and it holds nothing of
// a client that neither waits nor has a place.
type turns struct {
	mu      sync.Mutex // guards the following, and what is in it
	free    int        // places
	taken   int
	waiting int // turns
	clients map[string]*client
	next    list.List // of *client: those that wait, and are below their bound
}

type client struct {
	Client
	taken   int           // places
	waiting list.List     // of *turn
	place   *list.Element // in turns.next; nil if it is not there
}

// A turn is a place, or the wish for one.
type turn struct {
	client *client
	begin  func()
	place  *list.Element // in client.waiting; nil when it has come or was given up
}

func newTurns(places int) *turns {
	return &turns{free: places, clients: make(map[string]*client)}
}

// ask calls begin, which must not block nor use t, when there is a place: maybe
// at once. It must be given up or, after begin was called, done.
func (t *turns) ask(who Client, begin func()) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.client(who)
	n := &turn{client: c, begin: begin}
	n.place = c.waiting.PushBack(n)
	t.waiting++
	t.queue(c)
	t.serve()
	return n
}

// wait is ask for a caller that waits itself, until ctx ends. The caller calls done.
func (t *turns) wait(ctx context.Context, who Client) (done func(), err error) {
	came := make(chan struct{})
	n := t.ask(who, func() { close(came) })
	done = func() { t.done(n) }
	select {
	case <-came:
		return done, nil
	case <-ctx.Done():
		if !t.giveUp(n) {
			done() // it came just now
		}
		return nil, context.Cause(ctx)
	}
}

// of is how many turns a client has, and waits for.
func (t *turns) of(who Client) (taken, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.clients[who.Key]; c != nil {
		return c.taken, c.waiting.Len()
	}
	return 0, 0
}

// giveUp ends a wish, and reports false if begin was called: then it must be done.
func (t *turns) giveUp(n *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.place == nil {
		return false
	}
	t.leave(n)
	if c := n.client; c.waiting.Len() == 0 && c.place != nil {
		t.next.Remove(c.place)
		c.place = nil
	}
	t.forget(n.client)
	return true
}

// done gives the place back.
func (t *turns) done(n *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	t.taken--
	n.client.taken--
	t.queue(n.client)
	t.forget(n.client)
	t.serve()
}

// counts are how many turns wait, of how many clients that could have one, and how many places are taken.
func (t *turns) counts() (waiting, clients, taken int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting, t.next.Len(), t.taken
}

// client is who, as it is known here. Its newest bound holds. The caller holds mu.
func (t *turns) client(who Client) *client {
	if who.Key == "" {
		return &client{Client: who}
	}
	c := t.clients[who.Key]
	if c == nil {
		c = &client{}
		t.clients[who.Key] = c
	}
	c.Client = who
	return c
}

// forget drops a client that nobody needs. The caller holds mu.
func (t *turns) forget(c *client) {
	if c.taken == 0 && c.waiting.Len() == 0 && c.Key != "" {
		delete(t.clients, c.Key)
	}
}

// queue puts c behind all that are next, if it waits and may have one more place. The caller holds mu.
func (t *turns) queue(c *client) {
	if c.place == nil && c.waiting.Len() > 0 && (c.Most <= 0 || c.taken < c.Most) {
		c.place = t.next.PushBack(c)
	}
}

// serve gives out the places that are free. The caller holds mu.
func (t *turns) serve() {
	for t.free > 0 && t.next.Len() > 0 {
		c := t.next.Remove(t.next.Front()).(*client)
		c.place = nil
		n := c.waiting.Front().Value.(*turn)
		t.leave(n)
		t.free--
		t.taken++
		c.taken++
		t.queue(c)
		n.begin()
	}
}

// leave takes a wish out. The caller holds mu.
func (t *turns) leave(n *turn) {
	n.client.waiting.Remove(n.place)
	n.place = nil
	t.waiting--
}

package gateway

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// proofDelay is when the proof follows the welcome (PROTOCOL.md 2.1).
const proofDelay = 250 * time.Millisecond

// flushBytes is how much is written at a time, about.
const flushBytes = 32 << 10

// takeBatch is how many messages are taken at a time. They are as large as they
// are, so it bounds what is written beyond flushBytes, and what a slow client holds.
const takeBatch = 4

// maxOwed bounds the bytes of replies that wait to be written. A client that
// sends commands and does not read their replies is not read from any more.
const maxOwed = 1 << 20

// workTimeout bounds what one hello or command may keep the log busy.
const workTimeout = 15 * time.Second

// attachment is one live transport of a session: what it has to send, and
// when. It knows no socket: its transport's goroutine calls fill and writes
// what that returns.
type attachment struct {
	*medium
	g       *Gateway
	id      string
	session string
	reader  *broker.Reader
	share   *admission.Share           // of what waits to be written
	grant   atomic.Pointer[auth.Grant] // what it may do now
	beat    time.Duration
	since   time.Time
	wakes   chan struct{} // of capacity 1: fill has something to do

	// Owned by the goroutine that calls fill.
	proved bool
	beatAt time.Time

	mu        sync.Mutex // guards the following
	room      sync.Cond  // there is room in owed, or the end has come
	owed      []owed
	bytes     int       // in owed
	writer    sink      // what writes now; nil while nothing does
	writes    time.Time // since when
	beatAsked bool      // a beat is due, whatever beatAt says
	ending    *ending
}

// medium is how frames are written on a transport that lasts.
type medium struct {
	transport protocol.Transport
	media     string                                 // of the response; "" for a WebSocket
	prelude   []byte                                 // goes before the first frame
	encode    func(b []byte, w protocol.Wire) []byte // appends a frame
}

// owed is a frame, or bytes that are ready for the wire, to be sent before messages.
type owed struct {
	wire protocol.Wire
	raw  []byte
}

// owedOverhead is what one costs beside its bytes.
const owedOverhead = 64

func (o owed) size() int { return o.wire.Len() + len(o.raw) + owedOverhead }

// ending is how an attachment ends.
type ending struct {
	last  protocol.Wire // the last frame; zero for none
	code  int           // a WebSocket's close code
	flush bool          // everything that the log has for it goes first
}

// scratch is what writing needs, and only while there is something to write.
type scratch struct {
	buf     []byte
	entries [takeBatch]*broker.Entry
}

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, 0, flushBytes+4<<10)} }}

func (s *scratch) free() {
	clear(s.entries[:])
	if s.buf = s.buf[:0]; cap(s.buf) <= 2*flushBytes { // a large message's buffer is not kept
		scratches.Put(s)
	}
}

// attach makes an attachment from a hello, subscribes it, and owes it its
// welcome. The caller must detach it.
func (g *Gateway) attach(ctx context.Context, m *medium, hello *protocol.Hello, from client) (*attachment, error) {
	if err := g.checkHello(hello); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	a := &attachment{
		medium:  m,
		g:       g,
		id:      g.broker.Node() + "." + strconv.FormatUint(g.serial.Add(1), 36),
		session: sessionOf(hello),
		beat:    g.beat(hello.Beat),
		since:   time.Now(),
		wakes:   make(chan struct{}, 1),
		share:   g.door.Share(from.counted()),
	}
	a.room.L = &a.mu
	a.grant.Store(from.grant)
	a.reader = g.broker.NewReader(a.wake)
	a.reader.SetLimit(g.limits().Channels)
	a.reader.SetClient(g.reads(from))
	welcome, refused, err := g.subscribeAll(ctx, a.reader, hello, from.grant)
	if err != nil {
		a.drop()
		return nil, err
	}
	welcome.Session, welcome.Attachment, welcome.Transport = a.session, a.id, a.transport
	welcome.Beat, welcome.Net = a.beat.Milliseconds(), g.netOf(from)
	if err := g.register(a); err != nil {
		a.drop()
		return nil, err
	}
	a.beatAt = a.since.Add(a.beat)
	if m.prelude != nil {
		a.tell(owed{raw: m.prelude}) // in one write with the welcome, and with messages that are there
	}
	a.tell(owed{wire: welcome.Wire()})
	for _, frame := range refused {
		a.tell(owed{wire: frame})
	}
	a.regrant() // what has changed before it was registered
	return a, nil
}

// detach ends the attachment; its transport has stopped.
func (a *attachment) detach() {
	a.end(ending{})
	a.mu.Lock()
	a.share.LetGo(a.bytes)
	a.owed, a.bytes = nil, 0
	a.mu.Unlock()
	a.drop()
	a.g.unregister(a)
}

// drop gives back what the attachment has of others.
func (a *attachment) drop() {
	a.reader.Close()
	a.share.Leave()
}

// subscribeAll subscribes reader to what the hello asks for, as far as the grant
// covers it, and begins a welcome. The frames in refused tell of the rest.
func (g *Gateway) subscribeAll(ctx context.Context, reader *broker.Reader, hello *protocol.Hello, grant *auth.Grant) (w *protocol.Welcome, refused []protocol.Wire, err error) {
	w = &protocol.Welcome{
		ID:         g.broker.Head(),
		Transports: protocol.Transports(),
		Limits:     told(g.limits()),
		ExpiresIn:  expiresIn(grant),
		Channels:   make(map[string]protocol.After, len(hello.Channels)),
	}
	for name, start := range hello.Channels {
		if err := maySubscribe(grant, name); err != nil {
			if len(refused) == len(hello.Channels)-1 {
				return nil, nil, err // nothing is left to be served
			}
			refused = append(refused, protocol.Unsubscribed(name, protocol.ErrorFrom(err)))
			continue
		}
		at, err := reader.Subscribe(ctx, name, start)
		if err != nil {
			g.countExceeded(err)
			return nil, nil, err
		}
		w.Channels[name] = protocol.After{After: at}
	}
	return w, refused, nil
}

// wake makes the transport's goroutine call fill. It does not block.
func (a *attachment) wake() {
	select {
	case a.wakes <- struct{}{}:
	default:
	}
}

// owe adds to what is sent before messages. It waits while a client that does
// not read is owed too much, or anything while it is over its share, and
// reports false if the attachment has ended.
func (a *attachment) owe(o owed) bool { return a.addOwed(o, true) }

// tell is owe for the few frames that no client brings about by itself, and so
// does not wait: for one that does not read, who tells many would let all wait.
func (a *attachment) tell(o owed) { a.addOwed(o, false) }

func (a *attachment) addOwed(o owed, wait bool) bool {
	a.share.Hold(o.size()) // what waits for room is there as well
	a.mu.Lock()
	defer a.mu.Unlock()
	for wait && (a.bytes >= maxOwed || a.bytes > 0 && a.share.Over()) && a.ending == nil {
		a.room.Wait()
	}
	if a.ending != nil {
		a.share.LetGo(o.size())
		return false
	}
	a.owed = append(a.owed, o)
	a.bytes += o.size()
	a.wake()
	return true
}

// end makes the transport write what is owed, and then end. The first ending
// counts, but one that waits for messages gives way to one that does not.
func (a *attachment) end(e ending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending == nil || a.ending.flush && !e.flush {
		a.ending = &e
	}
	a.room.Broadcast()
	a.wake()
}

func (a *attachment) ended() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ending != nil
}

// fail ends the attachment with an error frame.
func (a *attachment) fail(err error) {
	e := protocol.ErrorFrom(err)
	a.g.countError(e)
	a.end(ending{last: protocol.ErrorFrame(e), code: e.Code.CloseCode()})
	// What is being written holds messages, perhaps for somebody who may not have them any more.
	failed := time.Now()
	time.AfterFunc(closeTimeout, func() { a.cutOff(failed) })
}

// goAway ends the attachment after everything that it is owed, for the client
// to attach elsewhere.
func (a *attachment) goAway(reason string) {
	after := time.Duration(rand.Int64N(int64(time.Second)))
	a.end(ending{last: protocol.Goaway(after, reason), code: closeServiceRestart, flush: true})
}

// fill appends to s.buf what is to be sent now, encoded, and returns when it
// wants to be called again even if nobody wakes it; or the ending, if s.buf
// holds the last that is to be sent. Only the transport's goroutine calls it.
func (a *attachment) fill(s *scratch, now time.Time) (next time.Time, end *ending) {
	if grant := a.grant.Load(); a.g.isOver(grant, now) {
		a.fail(grant.Check(now))
	}
	end = a.payOwed(s, now)
	if !a.proved && now.Sub(a.since) >= proofDelay {
		a.proved = true
		s.buf = a.encode(s.buf, protocol.Proof())
	}
	exhausted := end != nil && !end.flush || a.takeMessages(s, now)
	if end != nil && (exhausted || !end.flush) {
		if end.last.Len() > 0 {
			s.buf = a.encode(s.buf, protocol.Beat(a.reader.Watermark()))
			s.buf = a.encode(s.buf, end.last)
		}
		return time.Time{}, end
	}
	// Not only when there was nothing else to send: messages of one channel
	// say nothing of how far the others have been served.
	if !now.Before(a.beatAt) {
		if err := a.g.broker.Stale(); err != nil {
			a.fail(err) // it would hear nothing but beats, for ever
			return now, nil
		}
		s.buf = a.encode(s.buf, protocol.Beat(a.reader.Watermark()))
		a.beatAt = now.Add(a.beat)
	}
	return a.next(), nil
}

// next is when there will be something to do even if nobody wakes it.
func (a *attachment) next() time.Time {
	next := a.beatAt
	if !a.proved {
		next = a.since.Add(proofDelay)
	}
	if over := a.g.over(a.grant.Load()); !over.IsZero() && over.Before(next) {
		next = over
	}
	return next
}

// beatNow makes a beat due. One that is asked for many times before it is written is one.
func (a *attachment) beatNow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beatAsked = true
	a.wake()
}

// payOwed appends what is owed, notes a beat that is due, and returns the ending if there is one.
func (a *attachment) payOwed(s *scratch, now time.Time) *ending {
	a.mu.Lock()
	pay := a.owed
	a.share.LetGo(a.bytes) // what it becomes is held by the pump
	a.owed, a.bytes = nil, 0
	if a.beatAsked {
		a.beatAsked, a.beatAt = false, now
	}
	end := a.ending
	a.room.Broadcast()
	a.mu.Unlock()
	for _, o := range pay {
		if o.raw != nil {
			s.buf = append(s.buf, o.raw...)
		} else {
			s.buf = a.encode(s.buf, o.wire)
		}
	}
	return end
}

// takeMessages appends messages up to about flushBytes, and reports whether there are no more.
func (a *attachment) takeMessages(s *scratch, now time.Time) (exhausted bool) {
	out := a.g.metrics.out[a.transport]
	into := s.entries[:]
	if a.share.Over() {
		into = into[:1] // however many attachments a client has, each has little more
	}
	for len(s.buf) < flushBytes {
		n := a.reader.TryNext(into)
		for _, e := range into[:n] {
			s.buf = a.encode(s.buf, e.Wire)
			if e.Time.After(a.since) { // neither history nor a frame of this client alone
				out.delivery.Observe(now.Sub(e.Time).Seconds())
			}
		}
		out.messages.Add(float64(n))
		if n < len(into) {
			return true
		}
	}
	a.wake() // there may be more
	return false
}

// sink writes to a client. One goroutine at a time uses it.
type sink interface {
	// write writes all of p and flushes it, or fails if the client takes
	// nothing of it for too long.
	write(p []byte) error
	// cut makes a write that is under way fail. Any goroutine may call it, and the next.
	cut()
	// cutIfStuck does that if nothing was taken since before, and reports whether it did.
	cutIfStuck(before time.Time) bool
}

// write writes p, for which there is room to account, and can be cut off meanwhile.
func (a *attachment) write(to sink, p []byte) error {
	a.share.Hold(len(p))
	defer a.share.LetGo(len(p))
	a.setWriter(to)
	defer a.setWriter(nil)
	return to.write(p)
}

func (a *attachment) setWriter(to sink) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writer, a.writes = to, time.Now()
}

// cutOff cuts a write off that began before then.
func (a *attachment) cutOff(before time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.writer != nil && !a.writes.After(before) {
		a.writer.cut()
	}
}

// cutIfStuck cuts a write off of which nothing was taken since before, and reports whether there was one.
func (a *attachment) cutIfStuck(before time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writer != nil && !a.writes.After(before) && a.writer.cutIfStuck(before)
}

// pump writes what the attachment has to send until it ends, the client
// cannot be written to, or ctx ends. While there is nothing to send it holds
// no buffer.
func (a *attachment) pump(ctx context.Context, to sink) (*ending, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	bytes := a.g.metrics.out[a.transport].bytes
	for {
		s := scratches.Get().(*scratch)
		next, end := a.fill(s, time.Now())
		wrote := len(s.buf)
		var err error
		if wrote > 0 {
			err = a.write(to, s.buf)
			bytes.Add(float64(wrote))
		}
		s.free()
		if err != nil || end != nil {
			a.g.countStall("write_stall", err)
			return end, err
		}
		timer.Reset(time.Until(next))
		select {
		case <-a.wakes:
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

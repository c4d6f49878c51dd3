package fairlead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// ErrClosed is what Next returns after Close.
var ErrClosed = errors.New("fairlead: the subscription is closed")

// A Subscription yields the messages of its channels: each once, those of a
// channel in the order of the log, over as many attachments as it takes. Next
// is for one goroutine at a time; Close is for any.
type Subscription struct {
	client *Client
	life   context.Context // until Close, or the ctx of Subscribe
	end    context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool           // guarded by mu
	reading sync.WaitGroup // added to under mu while not closed

	// The rest is owned by Next.
	places    places
	ladder    ladder
	pace      pace
	session   string
	pollLimit time.Duration      // what the server allows; 0: not known
	live      *attachment        // nil: none
	attached  protocol.Transport // what the last Attached event said; empty after a Detached
	notBefore time.Time          // of the next attempt
	events    []Event            // made and not yet returned: a few
	failure   error              // for good
}

// Subscribe makes a subscription to channels and patterns, each from its
// start; the zero Start is from the moment at which the first Attached event
// is returned. It connects when Next is first called. Close it in the end; if
// ctx is done first, Next returns its cause.
func (c *Client) Subscribe(ctx context.Context, channels map[string]protocol.Start) (*Subscription, error) {
	if len(channels) == 0 {
		return nil, errors.New("fairlead: subscribe: name a channel")
	}
	for pattern, start := range channels {
		if err := errors.Join(protocol.CheckPattern(pattern), start.Check()); err != nil {
			return nil, fmt.Errorf("fairlead: subscribe to %s: %w", pattern, err)
		}
	}
	life, end := context.WithCancelCause(ctx)
	return &Subscription{
		client: c, life: life, end: end,
		places: newPlaces(channels), ladder: newLadder(c.transports),
	}, nil
}

// Close ends the subscription and waits for its connections.
func (s *Subscription) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end(ErrClosed)
	s.reading.Wait()
	return nil
}

// Next returns the next event, and waits for it, attaching again whenever that
// is needed. It returns an error only if ctx or the subscription is done, or
// if the server will never serve it, which a *protocol.Error says. When ctx is
// done the subscription remains as it is, and Next may be called again.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for len(s.events) == 0 {
		if s.failure != nil {
			return nil, s.failure
		}
		if s.life.Err() != nil {
			return nil, context.Cause(s.life)
		}
		if err := s.step(ctx); err != nil {
			return nil, err
		}
	}
	first := s.events[0]
	s.events = s.events[1:]
	return first, nil
}

// step waits for one thing to happen, and deals with it.
func (s *Subscription) step(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })()
	if s.live == nil {
		if wait := time.Until(s.notBefore); wait > 0 {
			return sleep(ctx, wait)
		}
		return s.attach()
	}
	what, err := s.live.take(ctx)
	if s.life.Err() != nil { // the attachment ends by it, too: that is nothing to tell
		err = context.Cause(s.life)
	}
	if err != nil {
		return err
	}
	if what.err != nil {
		s.ended(ctx, what.err)
	} else {
		s.frame(what.frame)
	}
	return nil
}

// attach begins the next attachment.
func (s *Subscription) attach() error {
	transport, ok := s.ladder.choose(time.Now())
	if !ok {
		s.notBefore = time.Now().Add(s.pace.next(0))
		return nil
	}
	request := &protocol.Hello{Session: s.session, Channels: s.places.starts()}
	ctx, end := context.WithCancel(s.life)
	a := &attachment{
		transport: transport, begun: time.Now(), beat: defaultBeat,
		arrivals: make(chan arrival), end: end, done: make(chan struct{}),
	}
	if transport == protocol.Poll {
		if s.attached == protocol.Poll { // a first poll is answered at once: that proves it
			a.wait = pollWait
			if s.pollLimit > 0 {
				a.wait = min(pollWait, s.pollLimit)
			}
		}
		seconds := a.wait.Seconds()
		request.Wait = &seconds
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		end()
		return ErrClosed
	}
	s.live = a
	s.reading.Go(func() {
		a.read(ctx, func(ctx context.Context) (source, error) { return s.client.open(ctx, transport, request) })
	})
	return nil
}

// frame deals with one frame.
func (s *Subscription) frame(f frame) {
	a := s.live
	switch f.op {
	case protocol.OpWelcome:
		s.places.welcome(f.welcome.Channels)
		s.session = f.welcome.Session
		s.pollLimit = time.Duration(f.welcome.Limits.Wait) * time.Second
		if f.welcome.Beat > 0 {
			a.beat = time.Duration(f.welcome.Beat) * time.Millisecond
		}
		s.welcomed()
	case opResumed:
		s.welcomed()
	case protocol.OpProof:
		s.proved()
	case protocol.OpMessage:
		if s.places.message(f.message) {
			s.events = append(s.events, f.message)
		}
	case protocol.OpGap:
		if s.places.gap(f.gap) {
			s.events = append(s.events, &Gap{*f.gap})
		}
	case protocol.OpBeat:
		s.places.beat(f.id)
	case protocol.OpGoaway:
		a.leaveAt = time.Now().Add(f.after)
	case protocol.OpError:
		s.ended(s.life, f.err)
	}
}

func (s *Subscription) welcomed() {
	a := s.live
	a.welcomed = true
	if s.attached != a.transport || a.transport != protocol.Poll {
		s.attached = a.transport
		s.events = append(s.events, &Attached{Transport: a.transport, Session: s.session})
	}
	if a.transport == protocol.Poll {
		s.proved() // a whole answer is all the proof that a poll needs
	}
}

func (s *Subscription) proved() {
	s.live.proven = true
	s.ladder.proved(s.live.transport, time.Now())
}

// ended deals with the end of the live attachment.
func (s *Subscription) ended(ctx context.Context, err error) {
	a := s.live
	a.close()
	s.live = nil
	if errors.Is(err, errPolled) {
		s.pace = pace{random: s.pace.random}
		return // the next poll is the same attachment, as far as anybody can see
	}
	now := time.Now()
	age := now.Sub(a.begun)
	s.pace.lasted(age)
	verdict := judge(err, a.proven, !a.leaveAt.IsZero())
	if verdict == lost && errors.Is(err, errSilent) && s.pinged(ctx) {
		verdict = heldBack
	}
	again := true // by the same transport, so that a wait is due
	switch verdict {
	case fatal:
		s.fail(err)
		return
	case refused:
		s.ladder.refused(a.transport)
		if s.ladder.exhausted() {
			s.fail(err)
			return
		}
		again = false
	case failed, blocked, heldBack:
		s.ladder.failed(a.transport, verdict != failed)
		again = false
	case lost:
		s.ladder.died(a.transport, now, age, a.beat)
	case away:
		s.ladder.forget()
	case forgotten:
		s.session = ""
	}
	wait := askedWait(err)
	switch {
	case verdict == over: // the server spreads its clients' return: its wait takes the place of ours
		wait = max(0, time.Until(a.leaveAt))
	case again || wait > 0:
		wait = s.pace.next(wait)
	}
	s.notBefore = now.Add(wait)
	s.attached = ""
	s.client.log.Info("detached", "transport", a.transport, "error", err, "wait", wait)
	s.events = append(s.events, &Detached{Transport: a.transport, Err: err, Retry: wait})
}

func (s *Subscription) fail(err error) { s.failure = fmt.Errorf("fairlead: subscribe: %w", err) }

// pinged tells whether the gateway can be reached at all.
func (s *Subscription) pinged(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := s.client.Ping(ctx)
	return err == nil
}

package fairlead

import (
	"context"
	"crypto/rand"
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
	working sync.WaitGroup // added to under mu while not closed

	arrivals chan arrival // unbuffered: of all attachments
	answers  chan any     // unbuffered: what requests for the link came to

	// The rest is owned by Next.
	link      link
	begun     bool
	places    places
	live      map[int]*attachment // by the link's numbers
	session   string
	welcomed  bool          // by anybody, ever
	token     *token        // that the link knows of; nil: none
	beat      time.Duration // what the server granted last
	pollLimit time.Duration // what the server allows; 0: not known
	events    []Event       // made and not yet returned: a few
	failure   error         // for good
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
		arrivals: make(chan arrival), answers: make(chan any),
		link: newLink(c.transports, c.tokens.ask != nil), places: newPlaces(channels), live: map[int]*attachment{},
		session: rand.Text(), beat: defaultBeat,
	}, nil
}

// Close ends the subscription and waits for its connections.
func (s *Subscription) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end(ErrClosed)
	s.working.Wait()
	return nil
}

// spawn runs f in a goroutine that Close waits for, or not at all.
func (s *Subscription) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.working.Go(f)
	}
}

// ask runs f, which makes a request for the link, and has its result dealt with.
func (s *Subscription) ask(f func() any) {
	s.spawn(func() {
		select {
		case s.answers <- f():
		case <-s.life.Done():
		}
	})
}

// Next returns the next event, and waits for it, attaching again whenever that
// is needed. It returns an error only if ctx or the subscription is done, or
// if the server will never serve it, which a *protocol.Error says: it may want another token. When ctx is
// done the subscription remains as it is, and Next may be called again; but
// only while it runs are transports watched, changed and climbed.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for len(s.events) == 0 {
		if s.failure != nil {
			return nil, s.failure
		}
		if s.life.Err() != nil {
			return nil, context.Cause(s.life)
		}
		if err := s.turn(ctx); err != nil {
			return nil, err
		}
	}
	first := s.events[0]
	s.events = s.events[1:]
	return first, nil
}

// turn waits for one thing to happen, and deals with it.
func (s *Subscription) turn(ctx context.Context) error {
	if !s.begun {
		s.begun = true
		s.happened(started{s.client.memory.latest(time.Now())})
	}
	var wait <-chan time.Time
	if at := s.link.deadline(&defaults); !at.IsZero() {
		left := time.Until(at)
		if left <= 0 {
			s.late()
			return nil
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		wait = timer.C
	}
	select {
	case what := <-s.arrivals:
		s.arrived(what)
	case what := <-s.answers:
		s.answered(what)
	case <-wait:
	case <-s.life.Done():
		return context.Cause(s.life)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// late ticks the link, but first takes what has arrived: who was suspended, or
// was not asked for the next event for long, finds the silence over and the frame there.
func (s *Subscription) late() {
	for range len(s.live) + 1 {
		select {
		case what := <-s.arrivals:
			s.arrived(what)
			continue
		case what := <-s.answers:
			s.answered(what)
			continue
		default:
		}
		break
	}
	for number, a := range s.live {
		s.happened(heard{number, a.pulse.at()})
	}
	s.happened(ticked{})
}

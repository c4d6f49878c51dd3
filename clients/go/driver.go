package fairlead

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	defaultBeat = 15 * time.Second // stands in for what a welcome says
	pollWait    = 25 * time.Second // what a poll asks for at most
	pollQuiet   = 2 * time.Second  // the shortest silence that a poll is allowed
	pollPause   = time.Second      // before the next poll, if one was answered early with nothing
	pingLimit   = 2 * time.Second
	byeLimit    = time.Second // to tell the server that we leave
)

// happened tells the link what happened, and does what it asks for.
func (s *Subscription) happened(e any) {
	var effects []any
	s.link, effects = step(&defaults, s.link, moment{time.Now(), mathrand.Float64()}, e)
	for _, effect := range effects {
		s.carryOut(effect)
	}
}

func (s *Subscription) carryOut(effect any) {
	switch e := effect.(type) {
	case open:
		s.attach(e)
	case shut:
		s.leave(e.attempt)
	case ping:
		s.ask(func() any { return s.ping() })
	case drop:
		s.client.http.CloseIdleConnections()
	case note:
		s.client.memory.note(recollection(e), time.Now())
	case renew:
		s.ask(func() any { return s.fetchToken(e) })
	case show:
		s.authorize(e)
	case attached:
		s.client.log.Info("attached", "transport", e.transport, "from", e.from, "reason", e.reason)
		s.events = append(s.events, &Attached{Transport: e.transport, Session: s.session, From: e.from, Reason: e.reason})
	case detached:
		s.client.log.Info("detached", "transport", e.transport, "error", e.err, "wait", e.retry)
		s.events = append(s.events, &Detached{Transport: e.transport, Err: e.err, Retry: e.retry})
	case unreachable:
		s.client.log.Info("offline")
		s.events = append(s.events, &Offline{})
	case failed:
		s.failure = fmt.Errorf("fairlead: subscribe: %w", e.err)
	}
}

// attach begins an attachment.
func (s *Subscription) attach(e open) {
	a := &attachment{number: e.attempt, transport: e.transport}
	s.live[e.attempt] = a
	s.request(a, e.beat, 0)
}

// request begins the attachment's request, after a delay.
func (s *Subscription) request(a *attachment, beat, delay time.Duration) {
	hello := &protocol.Hello{Session: s.session, Beat: beat.Milliseconds()}
	a.view, hello.Channels = s.places.view()
	if a.transport == protocol.Poll {
		seconds := a.wait.Seconds()
		hello.Wait = &seconds
		hello.Welcome = !s.welcomed || !s.places.areKnown() || a.token != s.token // it tells how long a token lasts
	}
	ctx, end := context.WithCancel(s.life)
	a.end, a.asked, a.fruit = end, time.Now(), false
	with := s.token
	a.token = with
	a.pulse.note()
	s.spawn(func() {
		a.read(ctx, s.arrivals, func(ctx context.Context) (source, error) {
			if err := sleep(ctx, delay); err != nil {
				return nil, err
			}
			return s.client.open(ctx, a.transport, hello, with, a.pulse.note)
		})
	})
}

// leave ends an attachment in order. What it shows is not used any more.
func (s *Subscription) leave(number int) {
	a := s.live[number]
	if a == nil {
		return
	}
	s.drop(a)
	if a.id == "" || a.transport != protocol.SSE && a.transport != protocol.Stream {
		return // a WebSocket has its own way to say it, and a poll ends by itself
	}
	session, t := s.session, s.token
	s.spawn(func() {
		if err := s.client.bye(s.life, session, a.id, t); err != nil {
			s.client.log.Debug("bye", "transport", a.transport, "error", err)
		}
	})
}

// drop takes the attachment off the list and lets it end.
func (s *Subscription) drop(a *attachment) {
	a.end()
	delete(s.live, a.number)
}

// ping asks whether the gateway is there.
func (s *Subscription) ping() ponged {
	ctx, cancel := context.WithTimeout(s.life, pingLimit)
	defer cancel()
	begun := time.Now()
	_, err := s.client.ping(ctx, nil)
	return ponged{reached: err == nil || isAnswer(err), good: err == nil, took: time.Since(begun)}
}

// arrived deals with what an attachment brought.
func (s *Subscription) arrived(what arrival) {
	a := what.from
	if s.live[a.number] != a {
		return // it has been left
	}
	if what.err != nil {
		s.over(a, what.err)
		return
	}
	a.pulse.note() // it may have waited for us
	if err := s.frame(a, what.frame); err != nil {
		s.over(a, err)
		return
	}
	if serving := s.link.serving(); serving != nil && serving.suspect && s.live[a.number] == a {
		s.happened(heard{a.number, a.pulse.at()})
	}
}

// frame deals with one frame. An error ends the attachment.
func (s *Subscription) frame(a *attachment, f frame) error {
	switch f.op {
	case protocol.OpWelcome:
		return s.welcome(a, f.welcome)
	case opResumed:
		return s.whole(a, welcomed{})
	case protocol.OpProof:
		if !a.view.isWhole(s.places) {
			return errStale
		}
		s.happened(proved{a.number})
	case protocol.OpMessage:
		deliver, err := s.places.message(a.view, f.message)
		a.fruit = true
		if deliver {
			s.events = append(s.events, f.message)
		}
		return err
	case protocol.OpGap:
		tell, err := s.places.gap(a.view, f.gap)
		a.fruit = true
		if tell {
			s.events = append(s.events, &Gap{*f.gap})
		}
		return err
	case protocol.OpBeat:
		s.places.beat(a.view, f.id)
	case protocol.OpGoaway:
		a.leaving = true
		s.happened(sentAway{a.number, f.after})
	case protocol.OpUnsubscribed:
		return s.unsubscribed(a, f.channel, f.err)
	case protocol.OpReply:
		s.replied(a, f.reply)
	case protocol.OpError:
		return f.err
	}
	return nil
}

func (s *Subscription) welcome(a *attachment, w *protocol.Welcome) error {
	s.places.welcome(a.view, w.Channels)
	s.welcomed = true
	s.pollLimit = time.Duration(w.Limits.Wait) * time.Second
	if w.Beat > 0 {
		s.beat = time.Duration(w.Beat) * time.Millisecond
	}
	a.id = w.Attachment
	if err := s.whole(a, welcomed{offered: w.Transports, recalled: s.client.memory.recall(w.Net, time.Now())}); err != nil {
		return err
	}
	s.client.tokens.taken.Store(true)
	s.happened(granted{attempt: a.number, token: a.token.id(), life: milliseconds(w.ExpiresIn)})
	return nil
}

// whole is for an attachment that has been welcomed: it must go on where the
// cursors are. A poll is proven by it: it is here because the answer was whole.
func (s *Subscription) whole(a *attachment, e welcomed) error {
	if !a.view.mayBeWhole(s.places) {
		return errStale
	}
	e.attempt, e.quiet = a.number, s.beat
	if a.transport == protocol.Poll {
		e.quiet = max(s.turnOfPoll(), pollQuiet)
	}
	s.happened(e)
	if a.transport == protocol.Poll {
		s.happened(proved{a.number})
	}
	return nil
}

// turnOfPoll is how long a poll is to wait: no longer than others are silent.
func (s *Subscription) turnOfPoll() time.Duration {
	wait := min(pollWait, s.beat)
	if s.link.beat > 0 {
		wait = min(wait, s.link.beat)
	}
	if s.pollLimit > 0 {
		wait = min(wait, s.pollLimit)
	}
	return wait
}

// over deals with the end of an attachment, which for a poll is the beginning of the next one.
func (s *Subscription) over(a *attachment, err error) {
	a.end()
	if errors.Is(err, errPolled) && !a.leaving {
		delay := time.Duration(0)
		if !a.fruit && time.Since(a.asked) < a.wait/2 { // by somebody who does not wait, such as a cache
			delay = pollPause
		}
		a.wait = min(s.turnOfPoll(), s.untilToken(a))
		s.request(a, s.link.beat, delay)
		return
	}
	if errors.Is(err, errPolled) {
		err = errLeft
	}
	s.drop(a)
	known := s.link.attempt(a.number)
	verdict := judge(err, known != nil && known.serves())
	if verdict == forgotten {
		s.session = rand.Text()
	}
	s.happened(heard{a.number, a.pulse.at()})
	s.happened(ended{attempt: a.number, verdict: verdict, err: err, wait: askedWait(err), token: a.token.id()})
}

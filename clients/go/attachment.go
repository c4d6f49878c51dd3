package fairlead

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// source is where the frames of an attachment come from. next blocks; close,
// which any goroutine may call at any time and more than once, makes it return.
type source interface {
	// next returns a frame. errPolled, or io.EOF, is an end in order.
	next() ([]byte, error)
	close()
}

// errPolled ends the frames of a poll: the next poll may begin at once.
var errPolled = errors.New("the poll was answered")

// defaultBeat stands in for what a welcome says.
const defaultBeat = 15 * time.Second

const (
	welcomeLimit = 10 * time.Second // to connect and be welcomed
	proofLimit   = 3 * time.Second  // from a frame to the next, until the proof
	pollWait     = 25 * time.Second // what a poll asks for
	pollSlack    = 10 * time.Second // what it may take beyond that
)

// An attachment is one live transport of a subscription. A goroutine reads
// from it; whoever owns the subscription takes the frames one at a time, so
// that one who does not look holds up the transport and not a queue.
type attachment struct {
	transport protocol.Transport
	arrivals  chan arrival // unbuffered; ends with an arrival that has an err
	end       context.CancelFunc
	done      chan struct{} // closed when the goroutine has ended

	// Owned by whoever takes the arrivals.
	begun    time.Time
	wait     time.Duration // of a poll
	welcomed bool
	proven   bool
	beat     time.Duration
	leaveAt  time.Time // of a goaway; zero: none came
}

type arrival struct {
	frame frame
	err   error
}

// read opens the source, and offers its frames and then its end. It returns
// when ctx is done, or the end has been taken.
func (a *attachment) read(ctx context.Context, open func(context.Context) (source, error)) {
	defer close(a.done)
	from, err := open(ctx)
	if err != nil {
		a.offer(ctx, arrival{err: err})
		return
	}
	defer from.close()
	defer context.AfterFunc(ctx, from.close)()
	for {
		b, err := from.next()
		var f frame
		if err == nil {
			f, err = decodeFrame(b)
		}
		if !a.offer(ctx, arrival{f, err}) || err != nil {
			return
		}
	}
}

func (a *attachment) offer(ctx context.Context, what arrival) bool {
	select {
	case a.arrivals <- what:
		return true
	case <-ctx.Done():
		return false
	}
}

// close ends the attachment and waits until it has.
func (a *attachment) close() {
	a.end()
	<-a.done
}

// patience is how long to wait for the next frame before the attachment counts as dead (PROTOCOL.md 3.5).
func (a *attachment) patience() time.Duration {
	switch {
	case a.transport == protocol.Poll:
		return a.wait + pollSlack
	case !a.welcomed:
		return welcomeLimit
	case !a.proven:
		return proofLimit
	default:
		return a.beat * 3 / 2
	}
}

// errSilent is the end of an attachment that nothing came from for too long.
var errSilent = errors.New("nothing came for too long")

// take waits for the next arrival. Silence is one, too. ctx ends the wait, not the attachment.
func (a *attachment) take(ctx context.Context) (arrival, error) {
	silence := time.NewTimer(a.patience())
	defer silence.Stop()
	var leave <-chan time.Time
	if !a.leaveAt.IsZero() {
		timer := time.NewTimer(time.Until(a.leaveAt))
		defer timer.Stop()
		leave = timer.C
	}
	select {
	case what := <-a.arrivals:
		return what, nil
	case <-leave:
		return arrival{err: errLeft}, nil
	case <-silence.C:
	case <-ctx.Done():
		return arrival{}, context.Cause(ctx)
	}
	select { // a process that was suspended finds the silence over and the frame there
	case what := <-a.arrivals:
		return what, nil
	default:
		return arrival{err: errSilent}, nil
	}
}

// errLeft is the end of an attachment that the server had asked to go away.
var errLeft = errors.New("the server asked for a new attachment")

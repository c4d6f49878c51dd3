package fairlead

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// source is where the frames of an attachment come from. next blocks. close
// and leave make it return, if not at once; any goroutine may call them, at any time and more than once.
type source interface {
	// next returns a frame. errPolled, or io.EOF, is an end in order.
	next() ([]byte, error)
	// leave closes with a word to the server, if there is a way to say it.
	leave()
	close()
}

// errPolled ends the frames of a poll: the next poll may begin at once.
var errPolled = errors.New("the poll was answered")

// An attachment is one live transport of a subscription. A goroutine reads
// from it; whoever owns the subscription takes the frames one at a time, so
// that one who does not look holds up the transport and not a queue.
type attachment struct {
	number    int // the link's
	transport protocol.Transport
	pulse     pulse

	// Owned by whoever takes the arrivals.
	end     context.CancelFunc
	view    view
	id      string        // the server's; empty: not known
	asked   time.Time     // when the request began
	wait    time.Duration // of a poll
	fruit   bool          // the poll brought something
	leaving bool          // the server sent us away
	token   *token        // of the request, or that the server has taken since; nil: none
	shown   *token        // that it was shown last, since it began; nil: none
	from    source        // to be used once something has arrived
}

type arrival struct {
	from  *attachment
	frame frame
	err   error // the last one has one
}

// read opens the source, and offers its frames and then its end. It returns
// when ctx is done, or the end has been taken.
func (a *attachment) read(ctx context.Context, arrivals chan<- arrival, open func(context.Context) (source, error)) {
	offer := func(what arrival) bool {
		select {
		case arrivals <- what:
			return true
		case <-ctx.Done():
			return false
		}
	}
	from, err := open(ctx)
	if err != nil {
		offer(arrival{from: a, err: err})
		return
	}
	a.from = from
	left := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(left)
		from.leave()
	})
	defer func() {
		from.close()
		if !stop() {
			<-left
		}
	}()
	for {
		b, err := from.next()
		var f frame
		if err == nil {
			f, err = decodeFrame(b)
		}
		if !offer(arrival{a, f, err}) {
			break
		}
		if err != nil {
			return
		}
	}
	for err == nil { // until the server has heard that we leave
		_, err = from.next()
	}
}

// A pulse is when something came last. It may be used from several goroutines.
type pulse struct {
	latest atomic.Pointer[time.Time]
}

// note notes that something comes just now.
func (p *pulse) note() {
	now := time.Now()
	p.latest.Store(&now)
}

func (p *pulse) at() time.Time { return *p.latest.Load() }

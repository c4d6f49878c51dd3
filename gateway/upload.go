package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// upload is the body of a request that may last for hours, for as long as its
// sender may publish. One goroutine reads from it.
type upload struct {
	g       *Gateway
	channel string
	body    *stallReader
	held    *admission.Body
	ctx     context.Context // of the request; ended with the reason when the sender may not go on
	end     context.CancelCauseFunc
	wg      sync.WaitGroup

	// Owned by who reads.
	message int   // the one that is coming, while body.by is set
	err     error // of reading
}

// openUpload is the body of r, which from sends for the channel. The caller closes it.
func (g *Gateway) openUpload(w http.ResponseWriter, r *http.Request, from client, channel string) *upload {
	u := &upload{g: g, channel: channel, body: g.body(w, r), held: g.door.Body(g.sends(from), nil)}
	u.ctx, u.end = context.WithCancelCause(r.Context())
	u.body.r = &unlessEnded{u.ctx, u.body.r}
	u.wg.Go(func() {
		defer g.survive("watching an upload", u.stop)
		u.watch(from)
	})
	return u
}

func (u *upload) close() {
	u.end(nil)
	u.wg.Wait()
	u.held.Leave()
	if u.err == nil {
		_ = u.body.control.SetReadDeadline(time.Now().Add(closeTimeout)) // net/http reads on, so that a sender gets to its answer
	}
}

// lingerTime is how long a sender has to get to its answer while it sends.
const lingerTime = 500 * time.Millisecond

// fail answers with err, or returns it to be answered.
func (u *upload) fail(w http.ResponseWriter, r *http.Request, err error) error {
	if r.ProtoMajor != 1 {
		return err
	}
	w.Header().Set("Connection", "close") // or net/http waits for the rest of the body before it answers
	if u.ctx.Err() == nil {
		return err
	}
	// The reading was cut off, and so net/http closes at once: to who is sending, a reset would come before the answer.
	u.g.problem(w, gistOf(r), err)
	_ = u.body.control.Flush() // fails only if nobody is there to read it
	u.close()
	time.Sleep(lingerTime) // and not until the request's context is done: a deadline ends that as well
	return nil
}

// stop ends the reading at once.
func (u *upload) stop(why error) {
	u.end(why)
	_ = u.body.control.SetReadDeadline(time.Now())
}

// watch stops it when the sender may not publish any longer, or a drain begins.
func (u *upload) watch(from client) {
	for {
		changed := u.g.access.changed() // before looking: a change meanwhile is not missed
		now, err := u.g.still(from)
		if err == nil {
			err = mayPublish(now.grant, u.channel)
		}
		if err != nil {
			u.stop(err)
			return
		}
		var over <-chan time.Time
		if at := now.grant.Expires; !at.IsZero() {
			over = time.After(time.Until(at))
		}
		select {
		case <-changed:
		case <-over:
		case <-u.g.drain:
			u.stop(errDraining())
			return
		case <-u.ctx.Done():
			return
		}
	}
}

// unlessEnded reads from r until ctx is done, and then fails with the cause.
type unlessEnded struct {
	ctx context.Context
	r   io.Reader
}

func (e *unlessEnded) Read(p []byte) (int, error) {
	// After the reader's deadline was set: what ends it meanwhile sets an earlier one.
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.r.Read(p)
}

// Read reads what has come. Its error is the sender's to be told, but for io.EOF.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.body.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		u.err = err
		return n, err
	}
	if cause, ok := errors.AsType[*protocol.Error](context.Cause(u.ctx)); ok {
		return n, cause
	}
	u.err = err
	return n, u.g.bodyError(err)
}

// hold counts what is there of a message that is not complete, and gives it its
// time as a whole, from when it began.
func (u *upload) hold(message, bytes int, begun bool) error {
	switch {
	case !begun:
		u.body.by = time.Time{}
	case message != u.message || u.body.by.IsZero():
		u.message, u.body.by = message, u.g.wholeBy(u.g.limits().Frame)
	}
	return u.held.Hold(bytes)
}

// wholeBy is when something that begins now, and may have so many bytes, has to be there as a whole.
func (g *Gateway) wholeBy(bytes int) time.Time {
	return time.Now().Add(g.limits().BodyStall + time.Duration(bytes)*time.Second/minBodyRate)
}

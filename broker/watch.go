package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// watchHeartbeat is how often NATS says that it has nothing to tell. Where it
// does not say that twice, the watcher begins anew.
const watchHeartbeat = 500 * time.Millisecond

// Watch calls each with every record that is there, then returns nil, and goes
// on calling it with what is put later, one after the other, in order, until
// the broker is closed; Close waits for it. Nobody is told that a record was
// taken or has expired, and who comes to it after that is not told of it. After
// the bucket was lost and made anew, each is called again with what is there.
// each must not block. ctx bounds the first part: if Watch fails, with an error
// for the client, each is not called any more.
func (r *Records) Watch(ctx context.Context, each func(key string, value []byte)) error {
	js, err := jetstream.New(r.b.following)
	if err != nil {
		return err
	}
	w := &watcher{r: r, js: js, each: each, caughtUp: make(chan struct{})}
	background, stop := context.WithCancelCause(r.b.background)
	ended := make(chan error, 1)
	watching := r.b.goes(func() {
		defer stop(nil)
		ended <- w.run(background)
	})
	if !watching {
		stop(nil)
		return r.failed(errors.New("the broker is closed"))
	}
	select {
	case <-w.caughtUp:
		return nil
	case err = <-ended:
	case <-ctx.Done():
		stop(context.Cause(ctx))
		err = <-ended
	}
	return r.failed(err)
}

// watcher tells of records, from where it stands in their bucket on. It is not
// one of JetStream's ordered consumers, because those wait silently where the
// bucket was made anew. Its fields are owned by run.
type watcher struct {
	r    *Records
	js   jetstream.JetStream
	each func(key string, value []byte)

	caughtUp chan struct{} // closed when it told of what was there
	going    bool          // that is closed
	down     bool          // an interruption was said

	created time.Time // of the bucket in which after is
	after   uint64    // it told of everything up to here

	// Of this session.
	consumer jetstream.Consumer
	messages jetstream.MessagesContext // from it
	got      uint64                    // how many of them
	more     bool                      // there was more in the bucket when the last one was sent
}

// run tells of what is there and what is put until ctx ends, or until it fails
// before it has told of what was there. It returns why.
func (w *watcher) run(ctx context.Context) error {
	for {
		err := w.session(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !w.going:
			return err
		case !w.down:
			w.down = true
			w.r.b.log.Warn("watching records was interrupted", "records", w.r.name, "error", err)
		}
		// Not at once: a bucket on its way out must not be made anew before it has gone.
		if err := pause(ctx, retryInterval); err != nil {
			return err
		}
	}
}

// session tells of what is there and what is put until it is interrupted, and returns why.
func (w *watcher) session(ctx context.Context) error {
	ctx, end := whileConnected(ctx, w.r.b.following)
	defer end()
	err := w.tell(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (w *watcher) tell(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	defer w.messages.Stop()
	for w.more {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	w.caughtUpAgain()
	for {
		if err := w.next(ctx); err != nil {
			return err
		}
	}
}

func (w *watcher) caughtUpAgain() {
	if !w.going {
		w.going = true
		close(w.caughtUp)
	}
	if w.down {
		w.down = false
		w.r.b.log.Info("watching records goes on", "records", w.r.name)
	}
}

// whileConnected is ctx until the connection is lost: what is on its way then
// does not come any more. end must be called.
func whileConnected(ctx context.Context, nc *nats.Conn) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	lost := nc.StatusChanged(nats.RECONNECTING)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range lost {
			cancel(nats.ErrDisconnected)
		}
	})
	return ctx, func() {
		nc.RemoveStatusListener(lost) // closes it
		wg.Wait()
		cancel(nil)
	}
}

// begin makes a consumer of what is after that.
func (w *watcher) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := w.findPlace(ctx); err != nil {
		return err
	}
	consumer, err := w.js.CreateConsumer(ctx, w.r.stream(), jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       w.after + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: readTimeout,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return err
	}
	w.consumer, w.got, w.more = consumer, 0, consumer.CachedInfo().NumPending > 0
	w.messages, err = consumer.Messages(jetstream.PullHeartbeat(watchHeartbeat))
	return err
}

// findPlace goes back to the beginning if the bucket is not the one in which w stands.
func (w *watcher) findPlace(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, w.r.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = w.r.ensure(ctx)
	}
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if !info.Created.Equal(w.created) || info.State.LastSeq < w.after {
		w.created, w.after = info.Created, 0
	}
	return nil
}

// catchUp tells of the next record that is there, or finds out that there is none any more.
func (w *watcher) catchUp(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, watchHeartbeat)
	defer cancel()
	err := w.next(short)
	if errors.Is(err, context.DeadlineExceeded) {
		return w.nothingCame(ctx)
	}
	return err
}

// nothingCame finds out whether what was to come was taken, or has expired, meanwhile.
func (w *watcher) nothingCame(ctx context.Context) error {
	info, err := w.consumer.Info(ctx)
	if err != nil {
		return err
	}
	w.more = info.NumPending > 0 || info.Delivered.Consumer != w.got
	return nil
}

// next waits for a message, and tells of it if it is a record.
func (w *watcher) next(ctx context.Context) error {
	msg, err := w.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	w.got++
	if meta.Sequence.Consumer != w.got {
		return errors.New("a record was lost on its way from NATS")
	}
	w.after, w.more = meta.Sequence.Stream, meta.NumPending > 0
	if msg.Headers().Get("KV-Operation") == "" && msg.Headers().Get(jetstream.MarkerReasonHeader) == "" {
		w.each(strings.TrimPrefix(msg.Subject(), w.r.subject("")), msg.Data())
	}
	return nil
}

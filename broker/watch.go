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
	w := &watcher{r: r, js: js, each: each}
	if err := w.begin(ctx); err != nil {
		return r.failed(err)
	}
	if err := w.catchUp(ctx); err != nil {
		w.end()
		return r.failed(err)
	}
	if !r.b.goes(w.run) {
		w.end()
		return r.failed(errors.New("the broker is closed"))
	}
	return nil
}

// watcher tells of records, from where it stands in their bucket on. It is not
// one of JetStream's ordered consumers, because those wait silently where the
// bucket was made anew.
type watcher struct {
	r    *Records
	js   jetstream.JetStream
	each func(key string, value []byte)

	created time.Time // of the bucket in which after is
	after   uint64    // it told of everything up to here

	// Between begin and end.
	consumer jetstream.Consumer
	messages jetstream.MessagesContext // from it
	got      uint64                    // how many of them
	more     bool                      // there was more in the bucket when the last one was sent
	lost     chan nats.Status          // has something in it when the connection is lost
	wg       sync.WaitGroup            // of who looks at that
}

// begin makes a consumer of what is after that.
func (w *watcher) begin(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := w.findPlace(ctx); err != nil {
		return err
	}
	w.lost = w.r.b.following.StatusChanged(nats.RECONNECTING)
	defer func() {
		if err != nil {
			w.r.b.following.RemoveStatusListener(w.lost)
		}
	}()
	w.consumer, err = w.js.CreateConsumer(ctx, w.r.stream(), jetstream.ConsumerConfig{
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
	w.got, w.more = 0, w.consumer.CachedInfo().NumPending > 0
	if w.messages, err = w.consumer.Messages(jetstream.PullHeartbeat(watchHeartbeat)); err != nil {
		return err
	}
	w.wg.Go(func() {
		for range w.lost { // what was on its way then does not come any more
			w.messages.Stop()
		}
	})
	return nil
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

// end undoes begin.
func (w *watcher) end() {
	w.messages.Stop()
	w.r.b.following.RemoveStatusListener(w.lost) // closes it
	w.wg.Wait()
}

// catchUp tells of what is there.
func (w *watcher) catchUp(ctx context.Context) error {
	for w.more {
		err := w.nextWithin(ctx, watchHeartbeat)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = w.nothingCame(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

func (w *watcher) nextWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return w.next(ctx)
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

// run tells of what is put until the broker is closed.
func (w *watcher) run() {
	ctx := w.r.b.background
	log := w.r.b.log.With("records", w.r.name)
	for {
		var err error
		for err == nil {
			err = w.next(ctx)
		}
		w.end()
		if ctx.Err() != nil {
			return
		}
		log.Warn("watching records was interrupted", "error", err)
		// Not at once: the bucket may be on its way out, and must not be made anew before it has gone.
		for err != nil {
			if pause(ctx, retryInterval) != nil {
				return
			}
			err = w.begin(ctx)
		}
		log.Info("watching records goes on")
	}
}

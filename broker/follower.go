package broker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A new follower begins this many messages before the stream's end, or fewer
// if they would not fit into the tail: so that a restart does not send every
// client that comes back to the stored log.
const warmMessages = 20_000

// trimInterval is how often the stream's first sequence is asked for.
const trimInterval = 5 * time.Second

// leaderLag is how long a stream's leader may know less than was followed.
const leaderLag = 500 * time.Millisecond

// follower is this node's one consumer of the whole stream. It appends what
// comes to the tail.
type follower struct {
	b       *Broker
	consume jetstream.ConsumeContext
	first   atomic.Uint64 // the stream's first sequence, as of the last look

	target uint64        // the stream's end when the follower began
	warm   chan struct{} // closed when it got there
	live   bool          // it is closed; owned by receive once that is called
}

// startFollower starts a follower and waits until it has caught up with the stream as
// it is now, or for ctx.
func startFollower(ctx context.Context, b *Broker, state jetstream.StreamState) (*follower, error) {
	from := max(state.FirstSeq, 1)
	if state.LastSeq > state.FirstSeq {
		average := max(state.Bytes/max(state.Msgs, 1), 1)
		fit := min(uint64(b.options.TailBytes)/average, warmMessages)
		from = max(from, state.LastSeq+1-min(fit, state.LastSeq))
	}
	f := &follower{b: b, target: state.LastSeq, warm: make(chan struct{})}
	f.first.Store(state.FirstSeq)
	b.tail.floor, b.tail.head = from-1, from-1

	if err := f.consumeFrom(ctx, from); err != nil {
		return nil, fmt.Errorf("broker: follow stream %s: %w", b.options.Stream, err)
	}
	select {
	case <-f.warm:
	case <-ctx.Done():
		f.close()
		return nil, fmt.Errorf("broker: read the end of stream %s: %w", b.options.Stream, context.Cause(ctx))
	}
	if err := f.look(ctx); err != nil { // holes until now are behind the first sequence, or purged
		f.close()
		return nil, err
	}
	return f, nil
}

// consumeFrom makes receive be called with everything from a sequence on.
func (f *follower) consumeFrom(ctx context.Context, from uint64) error {
	following, err := jetstream.New(f.b.following)
	if err != nil {
		return err
	}
	consumer, err := following.OrderedConsumer(ctx, f.b.options.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   from,
	})
	if err != nil {
		return err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return err
	}
	if info.NumPending == 0 && !f.live { // also if the last messages were deleted
		f.b.tail.head = max(f.b.tail.head, f.target)
		f.begin()
	}
	f.consume, err = consumer.Consume(f.receive, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		f.b.log.Warn("following the log was interrupted", "error", err)
	}))
	return err
}

// begin says that the tail reaches to the stream's end, and may be read.
func (f *follower) begin() {
	f.live = true
	close(f.warm)
}

// receive is called with one message at a time, in the log's order.
func (f *follower) receive(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		f.b.log.Error("a message of the log has no place in it", "subject", msg.Subject(), "error", err)
		return
	}
	t := f.b.tail
	seq := meta.Sequence.Stream
	if seq <= t.head || f.b.stale.Load() {
		return // of another log: its sequences are not the tail's
	}
	if seq > t.head+1 && f.live {
		f.checkHole(seq)
	}
	e, ok := f.b.entry(record{seq, meta.Timestamp, msg.Subject(), msg.Headers(), msg.Data()})
	if ok {
		t.append(e)
	} else {
		f.b.stats.unreadable.Add(1)
		t.skip(seq)
	}
	if !f.live && (seq >= f.target || meta.NumPending == 0) {
		f.begin()
	}
}

// checkHole finds out whether sequences before seq that did not come were
// purged, or whether retention overtook the follower.
func (f *follower) checkHole(seq uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	first := seq // unless we can find out, the worst
	if state, err := f.b.state(ctx); err == nil {
		first = state.FirstSeq
	}
	if first > f.b.tail.head+1 {
		f.b.log.Warn("the log's retention overtook this node: its clients are told what they missed", "from", f.b.tail.head+1, "to", first-1)
		f.b.tail.lost(seq - 1)
	}
}

// trim keeps the tail from serving what retention has removed, until ctx ends.
func (f *follower) trim(ctx context.Context) {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_ = f.look(ctx) // if it failed, the connection's handlers have said so
	}
}

// look finds out what retention has removed, and takes it from the tail. If
// the stream ends before what was followed, it was rolled back: from a backup,
// or because its server lost what it had not written.
func (f *follower) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	head := f.b.Head().Seq // before the state, which only grows
	state, err := f.b.state(ctx)
	if err == nil && state.LastSeq < head { // or a new leader is a moment behind
		if err := pause(ctx, leaderLag); err != nil {
			return err
		}
		state, err = f.b.state(ctx)
	}
	if err != nil {
		return err
	}
	if state.LastSeq < head {
		return f.b.goStale("the stream was rolled back under this node: restart the node", "stream", f.b.options.Stream, "followed", head, "last", state.LastSeq)
	}
	f.first.Store(state.FirstSeq)
	f.b.tail.trim(state.FirstSeq)
	return nil
}

func (f *follower) close() {
	if f.consume != nil {
		f.consume.Stop()
		<-f.consume.Closed()
	}
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// openStream makes sure that the stream is there, notes its identity, and returns its epoch. The embedded one follows the
// options; an external one that exists is its operator's.
func (b *Broker) openStream(ctx context.Context) (epoch string, state jetstream.StreamState, err error) {
	stream, err := b.ensureStream(ctx)
	if err != nil {
		return "", jetstream.StreamState{}, fmt.Errorf("broker: open stream %s: %w", b.options.Stream, err)
	}
	info := stream.CachedInfo()
	b.identity = b.options.Stream + " " + strconv.FormatInt(info.Created.UnixNano(), 10)
	b.streamTakes = int64(info.Config.MaxMsgSize)
	return epochOf(info.Created), countedFromOne(info.State), nil
}

// epochOf is the identity of a stream created at that time (PROTOCOL.md 1.2).
func epochOf(created time.Time) string {
	return strconv.FormatInt(created.UnixMilli(), 36)
}

func (b *Broker) ensureStream(ctx context.Context) (jetstream.Stream, error) {
	o := b.options
	want := jetstream.StreamConfig{
		Name:               o.Stream,
		Description:        "Fairlead's log: one subject per channel",
		Subjects:           []string{o.Prefix + ".>"},
		Storage:            jetstream.FileStorage,
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardOld, // from the head only: that makes gaps exact
		MaxAge:             o.MaxAge,
		MaxBytes:           o.MaxBytes,
		MaxMsgSize:         -1,
		Duplicates:         o.Dedupe,
		Replicas:           o.Replicas,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
	if b.server != nil {
		return b.publisher.CreateOrUpdateStream(ctx, want)
	}
	stream, err := b.publisher.Stream(ctx, o.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return b.publisher.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	have := stream.CachedInfo().Config
	switch {
	case !slices.Contains(have.Subjects, want.Subjects[0]):
		return nil, fmt.Errorf("it has the subjects %q, not %q: give another stream's name or prefix", have.Subjects, want.Subjects[0])
	case have.MaxMsgsPerSubject > 0 || have.Discard != jetstream.DiscardOld || have.Retention != jetstream.LimitsPolicy || have.AllowMsgTTL:
		return nil, errors.New("it does not keep its messages by age and bytes alone (limits retention, discard old, no maximum per subject, no TTL per message): clients could miss messages without being told")
	case !have.AllowAtomicPublish:
		return nil, errors.New("it does not allow atomic publishing: enable it with nats stream edit --allow-batch")
	}
	return stream, nil
}

// state asks the stream's leader for its first and last sequence. It costs
// about 0.3 ms, so it is not for every message.
func (b *Broker) state(ctx context.Context) (jetstream.StreamState, error) {
	if b.stale.Load() {
		return jetstream.StreamState{}, errStale()
	}
	stream, err := b.reader.Stream(ctx, b.options.Stream)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("broker: look at stream %s: %w", b.options.Stream, err)
	}
	info := stream.CachedInfo()
	if epochOf(info.Created) != b.tail.epoch {
		return jetstream.StreamState{}, b.goStale("the stream was deleted and made anew under this node: restart the node", "stream", b.options.Stream)
	}
	return countedFromOne(info.State), nil
}

// goStale makes the node serve nothing more, and says why, once.
func (b *Broker) goStale(why string, args ...any) error {
	if !b.stale.Swap(true) {
		b.log.Error(why, args...)
	}
	return errStale()
}

// errStale is for a node whose tail and ids are of a stream that is no more.
func errStale() *protocol.Error {
	e := protocol.Errorf(protocol.Unavailable, "the log was replaced, and this node has still to follow: retry, with the same key")
	e.RetryAfter = 5 * time.Second
	return e
}

// countedFromOne gives a stream that never held a message the first sequence
// that it will have; JetStream says 0.
func countedFromOne(s jetstream.StreamState) jetstream.StreamState {
	s.FirstSeq = max(s.FirstSeq, 1)
	return s
}

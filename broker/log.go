package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// readTimeout bounds one read of the stored log.
const readTimeout = 10 * time.Second

// maxFilters is how many subjects a read asks JetStream for; with more, the
// whole stream is read and filtered here: 1,000 take 0.1 s, 10,000 take 16 s.
const maxFilters = 100

// slot waits for the right to read the stored log in the caller's goroutine,
// at most as long as a read takes, and returns what gives it back.
func (c *catchUps) slot(ctx context.Context, who Client) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	release, err = c.callers.wait(ctx, who)
	if err != nil {
		return nil, protocol.Errorf(protocol.Unavailable, "the log is busy: retry").Because(err)
	}
	return release, nil
}

// part is a part of the stored log.
type part struct {
	entries []*Entry
	more    bool   // there is more after them
	first   uint64 // the stream's first sequence after they were read: up to there, entries may be missing
}

// read reads messages of filters (channels and patterns) from the stored log,
// beginning with the sequence from, until there are limit or they have that
// many bytes, or to the log's end. It uses a consumer on a connection of its
// own, because that delays publishes least.
func (b *Broker) read(ctx context.Context, filters []string, from uint64, limit, bytes int) (part, error) {
	consumer, err := b.consumer(ctx, filters, from)
	if err != nil {
		return part{}, err
	}
	defer b.forget(consumer)
	f := fetching{b: b, consumer: consumer, part: part{more: consumer.CachedInfo().NumPending > 0}}
	for f.more && len(f.entries) < limit && f.size < bytes {
		if err := f.fetch(ctx, min(limit-len(f.entries), f.fitting(bytes)), bytes); err != nil {
			return part{}, fmt.Errorf("broker: read the log: %w", err)
		}
	}
	state, err := b.state(ctx)
	if err != nil {
		return part{}, err
	}
	f.first = state.FirstSeq
	f.more = f.more && len(f.entries) > 0
	return f.part, nil
}

// How many messages JetStream is asked for at first, when their size is not
// known, and at a time, at most.
const (
	firstMessages = 2
	fetchMessages = 64
)

// fetching is a read under way.
type fetching struct {
	part
	b        *Broker
	consumer jetstream.Consumer
	got      uint64 // messages, also those that are none of a channel: the consumer's sequence
	size     int    // of the entries
	skipped  int    // bytes of what is none of a channel
}

// fitting is how many messages to ask for, so that about that many bytes come
// in all: what comes beyond them was read in vain.
func (f *fetching) fitting(bytes int) int {
	if f.got == 0 {
		return firstMessages
	}
	average := max((f.size+f.skipped)/int(f.got), entryOverhead)
	return min((bytes-f.size)/average+1, fetchMessages)
}

// fetch gets up to n messages more, and keeps them until they have that many bytes.
func (f *fetching) fetch(ctx context.Context, n, bytes int) error {
	batch, err := f.consumer.FetchNoWait(n)
	if err != nil {
		return err
	}
	before := f.got
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		f.got++
		if meta.Sequence.Consumer != f.got {
			return errors.New("a message was lost on its way from NATS")
		}
		if f.size >= bytes {
			f.more = true // it is left for the next read
			continue
		}
		f.more = meta.NumPending > 0
		if e, ok := f.b.entry(record{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Headers(), msg.Data()}); ok {
			f.entries = append(f.entries, e)
			f.size += e.size()
		} else {
			f.skipped += len(msg.Data())
		}
	}
	if err := batch.Error(); err != nil {
		return err
	}
	if f.got > before {
		return nil
	}
	return f.nothingCame(ctx)
}

// nothingCame finds out whether what was to come was removed meanwhile, or the
// server was only slow: the fetch gives up after a second, without an error.
func (f *fetching) nothingCame(ctx context.Context) error {
	info, err := f.consumer.Info(ctx)
	if err != nil {
		return err
	}
	if info.NumPending > 0 || info.Delivered.Consumer != f.got {
		return errors.New("the messages do not come")
	}
	f.more = false
	return nil
}

// consumer makes a consumer of the stored log from a sequence on.
func (b *Broker) consumer(ctx context.Context, filters []string, from uint64) (jetstream.Consumer, error) {
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = b.options.Prefix + "." + f
	}
	consumer, err := b.reader.CreateConsumer(ctx, b.options.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(from, 1),
		AckPolicy:         jetstream.AckNonePolicy,
		FilterSubjects:    subjects,
		InactiveThreshold: readTimeout,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return nil, fmt.Errorf("broker: read the log from %d: %w", from, err)
	}
	return consumer, nil
}

// forget deletes a consumer. If that fails the server does it, after InactiveThreshold.
func (b *Broker) forget(c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = b.reader.DeleteConsumer(ctx, b.options.Stream, c.CachedInfo().Name)
}

// filtersOf are the subjects to read for spans: none that is part of another,
// which JetStream refuses, or everything if there are too many or they overlap.
func filtersOf(spans []span) []string {
	if len(spans) > maxFilters {
		return []string{">"}
	}
	var filters []string
next:
	for i, s := range spans {
		for j, other := range spans {
			switch {
			case i == j || !server.SubjectsCollide(s.name, other.name):
			case server.SubjectMatchesFilter(s.name, other.name):
				continue next // a part of other
			case !server.SubjectMatchesFilter(other.name, s.name):
				return []string{">"}
			}
		}
		filters = append(filters, s.name)
	}
	return filters
}

// count is how many messages of filter the log holds from a sequence on.
func (b *Broker) count(ctx context.Context, filter string, from uint64) (uint64, error) {
	consumer, err := b.consumer(ctx, []string{filter}, from)
	if err != nil {
		return 0, err
	}
	defer b.forget(consumer)
	return consumer.CachedInfo().NumPending, nil
}

// seekBack finds the sequence of the nth message of filter before end, or of
// the first if there are fewer; end if there are none. JetStream does not
// read backwards, but it counts fast: so this narrows in on a count.
func (b *Broker) seekBack(ctx context.Context, filter string, end uint64, n int) (uint64, error) {
	after, err := b.count(ctx, filter, end)
	if err != nil {
		return 0, err
	}
	state, err := b.state(ctx)
	if err != nil {
		return 0, err
	}
	// There are more than n in [low, end), and at most n in [high, end).
	low, high := min(state.FirstSeq, end), end
	total, err := b.count(ctx, filter, low)
	if err != nil {
		return 0, err
	}
	inLow, inHigh := int64(total)-int64(after), int64(0)
	if inLow <= int64(n) {
		return low, nil
	}
	for step := 0; high-low > 1 && inHigh < int64(n); step++ {
		middle := low + (high-low)/2
		if step%2 == 0 { // messages tend to lie evenly; where they do not, every other step halves
			share := float64(inLow-int64(n)) / float64(inLow-inHigh)
			middle = min(max(low+uint64(share*float64(high-low)), low+1), high-1)
		}
		c, err := b.count(ctx, filter, middle)
		if err != nil {
			return 0, err
		}
		if in := int64(c) - int64(after); in > int64(n) {
			low, inLow = middle, in
		} else {
			high, inHigh = middle, in
		}
	}
	return high, nil
}

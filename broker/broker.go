// Package broker is the log: one JetStream stream, embedded or external, that
// every channel lives in. It publishes, follows the stream with one consumer,
// keeps the recent part in memory (the tail), and hands it to readers: cursors
// over any mix of channels and patterns.
//
// A Broker may be used from several goroutines.
package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// Options configure a Broker. The zero value of a field is its default.
type Options struct {
	Dir string // where the embedded server keeps the log: ./fairlead-data
	URL string // an external NATS to use instead of the embedded server

	Stream     string        // the stream's name: FAIRLEAD
	Prefix     string        // channels are the subjects <Prefix>.<channel>: ch
	MaxAge     time.Duration // how long messages are kept: 24 h
	MaxBytes   int64         // how many bytes of them: 1 GiB
	Dedupe     time.Duration // how long a key is remembered: 2 min, at most MaxAge
	Replicas   int           // 1
	SyncAlways bool          // acknowledge only what has reached the disk, not the page cache

	TailBytes   int   // messages kept in memory: 32 MiB
	CatchUps    int   // reads of the stored log at a time, for readers, and as many for history: 4
	DiskReserve int64 // publishing stops when the disk has less room than this: 64 MiB

	PublishTimeout time.Duration // how long an acknowledgement is waited for: 5 s

	Logger *slog.Logger // slog.Default()

	free func(dir string) (int64, error) // the room on the disk; other than freeBytes in tests
}

func (o Options) withDefaults() Options {
	o.Dir = cmp.Or(o.Dir, "./fairlead-data")
	o.Stream = cmp.Or(o.Stream, "FAIRLEAD")
	o.Prefix = cmp.Or(o.Prefix, "ch")
	o.MaxAge = cmp.Or(o.MaxAge, 24*time.Hour)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<30)
	o.Dedupe = min(cmp.Or(o.Dedupe, 2*time.Minute), o.MaxAge)
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.TailBytes = cmp.Or(o.TailBytes, 32<<20)
	o.CatchUps = cmp.Or(o.CatchUps, 4)
	o.DiskReserve = cmp.Or(o.DiskReserve, 64<<20)
	o.PublishTimeout = cmp.Or(o.PublishTimeout, 5*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.free == nil {
		o.free = freeBytes
	}
	return o
}

// A Broker is this node's view of the log.
type Broker struct {
	options  Options
	node     string
	identity string // of the stream, beyond what its epoch tells
	log      *slog.Logger

	lock   *flock.Flock // of the data directory; nil with an external NATS
	server *embedded    // nil with an external NATS
	disk   *disk        // nil with an external NATS

	// A connection each, so that none waits behind another's bytes: an
	// acknowledgement behind a deep read takes a hundred milliseconds.
	publishing, following, reading *nats.Conn

	publisher   jetstream.JetStream
	reader      jetstream.JetStream
	tail        *tail
	follower    *follower
	catchUps    *catchUps
	batches     *turns // to store one
	holdings    *holdings
	stats       Stats
	maxMessage  atomic.Int64  // bytes of a payload
	streamTakes int64         // bytes of a message with its headers; 0 or less is any number. Constant
	acked       atomic.Uint64 // the last sequence that somebody was told of here
	stale       atomic.Bool   // the stream is not the one that was followed; for good

	relay      *nats.Subscription // nil without Relay
	background context.Context    // of everything that runs until Close
	stop       context.CancelFunc // ends it
	wg         sync.WaitGroup     // waits for it

	mu     sync.Mutex // guards the following
	closed bool       // nothing more is started
}

// Open starts the embedded server, or connects to the external one, makes sure
// that the stream is there, and fills the tail. ctx bounds the opening only.
// The caller must Close the broker.
func Open(ctx context.Context, options Options) (*Broker, error) {
	options = options.withDefaults()
	background, stop := context.WithCancel(context.Background())
	b := &Broker{
		options: options,
		node:    strings.ToLower(rand.Text()[:10]),
		log:     options.Logger,

		background: background,
		stop:       stop,
	}
	b.maxMessage.Store(defaultMaxMessage)
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return b, nil
}

func (b *Broker) open(ctx context.Context) error {
	if b.options.URL == "" {
		if err := b.openServer(); err != nil {
			return err
		}
	}
	if err := b.connect(); err != nil {
		return err
	}
	epoch, state, err := b.openStream(ctx)
	if err != nil {
		return err
	}
	b.tail = newTail(epoch, b.options.TailBytes)
	b.catchUps = newCatchUps(b, b.options.CatchUps)
	b.batches = newTurns(batchTurns)
	b.holdings = newHoldings()
	if b.follower, err = startFollower(ctx, b, state); err != nil {
		return err
	}
	b.wg.Go(func() { b.follower.trim(b.background) })
	return nil
}

func (b *Broker) openServer() error {
	lock, err := lockDirectory(b.options.Dir)
	if err != nil {
		return err
	}
	b.lock = lock
	if b.server, err = startServer(b.options, b.node); err != nil {
		return err
	}
	b.disk = newDisk(b.options)
	b.wg.Go(func() { b.disk.watch(b.background, b.server) })
	return nil
}

func (b *Broker) connect() error {
	for name, conn := range map[string]**nats.Conn{"publishing": &b.publishing, "following": &b.following, "reading": &b.reading} {
		nc, err := b.dial(name)
		if err != nil {
			return fmt.Errorf("broker: connect to NATS at %s: %w", cmp.Or(b.options.URL, "the embedded server"), err)
		}
		*conn = nc
	}
	var err error
	if b.publisher, err = jetstream.New(b.publishing); err != nil {
		return err
	}
	b.reader, err = jetstream.New(b.reading)
	return err
}

func (b *Broker) dial(name string) (*nats.Conn, error) {
	log := b.log.With("connection", name)
	options := []nats.Option{
		nats.Name("fairlead " + b.node + " " + name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectBufSize(-1), // a publish fails at once while the connection is down; its client retries
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("NATS connection restored") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS connection error", "error", err)
		}),
	}
	if b.server != nil {
		options = append(options, nats.InProcessServer(b.server))
	}
	return nats.Connect(b.options.URL, options...)
}

// Close ends all readers' supply, flushes what was published, stops the
// embedded server and waits for all of it, or for ctx.
func (b *Broker) Close(ctx context.Context) error {
	b.stop()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	if b.follower != nil {
		b.follower.close()
	}
	if b.relay != nil {
		b.endRelay(ctx)
	}
	done := make(chan struct{})
	go func() { // ends with b.wg, whatever becomes of ctx
		defer close(done)
		b.wg.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("broker: close: %w", context.Cause(ctx))
	}
	for _, nc := range []*nats.Conn{b.publishing, b.following, b.reading} {
		if nc != nil {
			nc.Close()
		}
	}
	if b.server != nil {
		b.server.stop()
	}
	if b.lock != nil {
		err = errors.Join(err, b.lock.Unlock())
	}
	return err
}

// goes runs f, which must end with b.background, in a goroutine that Close
// waits for, or returns false if the broker is closed.
func (b *Broker) goes(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Go(f)
	return true
}

// Node is the name of this node: lower-case letters and digits, new at every start.
func (b *Broker) Node() string { return b.node }

// Epoch is the identity of the stream.
func (b *Broker) Epoch() string { return b.tail.epoch }

// Identity is a word for the stream that is the same on every node of the log
// and after every restart, and another one for another log. Clients are not
// told; who may look at the stream in NATS can find it out.
func (b *Broker) Identity() string { return b.identity }

// Head is the log's end, as far as this node knows: it has followed the log up
// to there, or is about to, because it has acknowledged that much.
func (b *Broker) Head() protocol.ID {
	b.tail.mu.RLock()
	defer b.tail.mu.RUnlock()
	return b.id(max(b.tail.head, b.acked.Load()))
}

func (b *Broker) id(seq uint64) protocol.ID { return protocol.ID{Epoch: b.tail.epoch, Seq: seq} }

// Ready reports why the broker cannot serve now, or nil.
func (b *Broker) Ready() error {
	if !b.publishing.IsConnected() || !b.following.IsConnected() {
		return errUnreachable()
	}
	return b.admit(0)
}

// Stale reports that this node serves nothing more before it is restarted,
// because its stream was replaced or rolled back; or nil.
func (b *Broker) Stale() error {
	if b.stale.Load() {
		return errStale()
	}
	return nil
}

// admit reports why n bytes may not be published now, or nil.
func (b *Broker) admit(n int) error {
	if err := b.Stale(); err != nil {
		return err
	}
	return b.disk.admit(n)
}

func errUnreachable() *protocol.Error {
	e := protocol.Errorf(protocol.Unavailable, "the log cannot be reached now: retry, with the same key")
	e.RetryAfter = time.Second
	return e
}

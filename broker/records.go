package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// RecordsOptions configure Records when they are made. On an external NATS
// those that are there stay as they are.
type RecordsOptions struct {
	TTL      time.Duration // how long one is kept that is put without a time of its own; 0: for ever
	Memory   bool          // forgotten when the NATS server stops
	MaxBytes int64         // of all of them, with about 100 bytes for each beside its key and value; 0: no bound
}

// Records are small values by key that all nodes of a log share, beside the
// log. They may be used from several goroutines.
type Records struct {
	b       *Broker
	name    string
	options RecordsOptions
	kv      jetstream.KeyValue
}

// ErrRecordExists says that there is a record with that key.
var ErrRecordExists = errors.New("broker: there is a record with this key already")

// A record that was taken leaves a mark for this long, the least that there is.
const markTTL = time.Second

// Records opens the records of that name, or makes them: the key-value bucket
// <Stream>_<name> of JetStream's. ctx bounds the opening only.
func (b *Broker) Records(ctx context.Context, name string, o RecordsOptions) (*Records, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	r := &Records{b: b, name: name, options: o}
	_, err := r.ensure(ctx)
	if err == nil {
		// Puts and takes are as short, and as urgent, as publishes, and so on
		// their connection; what is watched comes as the log does, on its.
		r.kv, err = b.publisher.KeyValue(ctx, r.bucket())
	}
	if err != nil && b.server == nil {
		err = fmt.Errorf("%w: the NATS user must be allowed to publish to %s, and its account to have one stream more", err, strings.Join(r.subjects(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("broker: open the records in bucket %s: %w", r.bucket(), err)
	}
	return r, nil
}

func (r *Records) bucket() string { return r.b.options.Stream + "_" + r.name }

// stream is what JetStream keeps the bucket in, by its own naming of both.
func (r *Records) stream() string { return "KV_" + r.bucket() }

// subject is that of a key; of ">", of all.
func (r *Records) subject(key string) string { return "$KV." + r.bucket() + "." + key }

// subjects are those that are published to for records.
func (r *Records) subjects() []string {
	stream := r.stream()
	return []string{
		"$JS.API.STREAM.*." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.CONSUMER.*." + stream + ".>",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".>",
		r.subject(">"),
	}
}

// ensure makes sure that the bucket is there. The embedded one follows the
// options; an external one that exists is its operator's.
func (r *Records) ensure(ctx context.Context) (jetstream.Stream, error) {
	js, want := r.b.publisher, r.config()
	if r.b.server != nil {
		return js.CreateOrUpdateStream(ctx, want)
	}
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was quicker, with other options
		stream, err = js.Stream(ctx, want.Name)
	}
	if err != nil {
		return nil, err
	}
	have := stream.CachedInfo().Config
	if !have.AllowMsgTTL || have.MaxMsgsPerSubject != 1 || have.Discard != jetstream.DiscardNew {
		return nil, errors.New("it is not as it must be (a history of 1, discard new, with TTLs per message): delete it, and it will be made anew")
	}
	return stream, nil
}

// config is that of nats.go's own buckets, with two differences. Reads ask the
// leader, because any other replica may not know yet what was put a moment ago.
// And nothing is written when a key expires: nobody is told of that.
func (r *Records) config() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              r.stream(),
		Description:       "Fairlead's " + r.name + ": a key-value bucket",
		Subjects:          []string{r.subject(">")},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		MaxAge:            r.options.TTL,
		MaxBytes:          cmp.Or(r.options.MaxBytes, -1),
		Replicas:          r.b.options.Replicas,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowMsgTTL:       true,
	}
	if r.options.Memory {
		c.Storage = jetstream.MemoryStorage
	}
	return c
}

// Put stores a record under a key that has none, and forgets it after ttl,
// which is rounded up to whole seconds; 0 is the options' TTL. It fails with
// ErrRecordExists if there is one, and with an error for the client if it
// cannot store: after that, it may be stored or not.
func (r *Records) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if !r.options.Memory {
		if err := r.b.disk.admit(len(value) + entryOverhead); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.b.options.PublishTimeout)
	defer cancel()
	_, err := r.kv.Create(ctx, key, value, jetstream.KeyTTL(wholeSeconds(ttl)))
	if errors.Is(err, jetstream.ErrNoStreamResponse) { // those in memory go with a restart of the server
		if _, err := r.ensure(ctx); err != nil {
			return r.failed(err)
		}
		_, err = r.kv.Create(ctx, key, value, jetstream.KeyTTL(wholeSeconds(ttl)))
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return ErrRecordExists
	}
	if err != nil {
		return r.failed(err)
	}
	return nil
}

func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// Take removes a record and returns it. Of all who take it, on whichever node,
// one gets it; the others, and who takes what is not there, get nil. It fails
// with an error for the client: after that, it may be removed or not.
func (r *Records) Take(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.b.options.PublishTimeout)
	defer cancel()
	record, err := r.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey), hasCode(err, jetstream.JSErrCodeStreamNotFound):
		return nil, nil
	case err != nil:
		return nil, r.failed(err)
	}
	err = r.kv.Purge(ctx, key, jetstream.LastRevision(record.Revision()), jetstream.PurgeTTL(markTTL))
	switch {
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch): // somebody else has just taken it
		return nil, nil
	case err != nil:
		return nil, r.failed(err)
	}
	return record.Value(), nil
}

const codeFull = jetstream.ErrorCode(server.JSStreamStoreFailedF)

// failed is what a client is told.
func (r *Records) failed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, jetstream.ErrInvalidKey) {
		return err // the client itself went away; or the caller is wrong
	}
	e := protocol.Errorf(protocol.Unavailable, "the records %q cannot be reached now: retry", r.name)
	e.RetryAfter = time.Second
	if hasCode(err, codeFull) {
		e = protocol.Errorf(protocol.Unavailable, "there is no room for more records in %q: retry when some of them have ended", r.name)
		e.RetryAfter = 5 * time.Second
	}
	return e.Because(err)
}

package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// A Publication is a message to store.
type Publication struct {
	Channel  string
	Type     string
	From     string
	Key      string
	Keys     string // whose keys this one is among, where From is empty; "": those of all origins. A word of fewer than 12 letters
	Payload  []byte
	Encoding protocol.Encoding
}

// A Receipt says that a message is stored.
type Receipt struct {
	ID        protocol.ID `json:"id"`
	Duplicate bool        `json:"duplicate,omitempty"` // its key was stored before: ID is the first one's
}

func (p *Publication) check(maxMessage int) error {
	if err := protocol.CheckChannel(p.Channel); err != nil {
		return err
	}
	if err := protocol.CheckType(p.Type); err != nil {
		return err
	}
	if err := protocol.CheckKey(p.Key); err != nil {
		return err
	}
	if len(p.Payload) > maxMessage {
		return protocol.Errorf(protocol.TooLarge, "the message has %d bytes: at most %d are allowed", len(p.Payload), maxMessage)
	}
	return nil
}

// msg is the publication as it is stored (PROTOCOL.md 5).
func (b *Broker) msg(p *Publication) *nats.Msg {
	m := &nats.Msg{Subject: b.options.Prefix + "." + p.Channel, Data: p.Payload, Header: nats.Header{}}
	set := func(name, value string) {
		if value != "" {
			m.Header[name] = []string{value}
		}
	}
	set(headerType, p.Type)
	set(headerFrom, p.From)
	set(headerEncoding, string(p.Encoding))
	if p.Key != "" {
		set(headerKey, keyID(p))
	}
	return m
}

// keyID is what JetStream knows a key by. Its ids are stream-wide, and anybody
// who may publish to a channel sees the keys of others there: each has its own.
func keyID(p *Publication) string {
	id := p.Channel + "/" + p.Key // which have no spaces
	switch {
	case p.From != "":
		sum := sha256.Sum256([]byte(p.From))
		return id + " " + base64.RawURLEncoding.EncodeToString(sum[:9]) // of 12 letters
	case p.Keys != "":
		return id + " " + p.Keys
	default:
		return id
	}
}

// keyOf is the key in what JetStream knows it by.
func keyOf(channel, id string) string {
	key, _, _ := strings.Cut(strings.TrimPrefix(id, channel+"/"), " ")
	return key
}

// Publish stores one message. When it returns without an error, the message is
// stored. After an error with a retryable code it may be stored or not: retry
// with the same key.
func (b *Broker) Publish(ctx context.Context, p Publication) (Receipt, error) {
	if err := p.check(int(b.maxMessage.Load())); err != nil {
		return Receipt{}, err
	}
	if err := b.admit(len(p.Payload) + entryOverhead); err != nil {
		return Receipt{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	return b.store(ctx, b.msg(&p))
}

func (b *Broker) store(ctx context.Context, m *nats.Msg) (Receipt, error) {
	for {
		ack, err := b.publisher.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
		if err == nil {
			b.countStored(ack.Duplicate)
			b.acknowledge(ack.Sequence)
			return Receipt{ID: b.id(ack.Sequence), Duplicate: ack.Duplicate}, nil
		}
		if !inProcess(err) {
			return Receipt{}, b.publishFailed(err)
		}
		// Another node is storing the same key: its outcome is ours.
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return Receipt{}, b.publishFailed(err)
		}
	}
}

func (b *Broker) countStored(duplicate bool) {
	if duplicate {
		b.stats.duplicates.Add(1)
	} else {
		b.stats.published.Add(1)
	}
}

// PublishBatch stores all of the messages, one after the other in the log, or
// none. If some of their keys are stored already and some are not, the new
// ones are stored one by one.
func (b *Broker) PublishBatch(ctx context.Context, batch []Publication) ([]Receipt, error) {
	return b.PublishBatchFor(ctx, Client{}, batch)
}

// PublishBatchFor is PublishBatch for a client, which takes turns with others:
// single messages wait for none of them.
func (b *Broker) PublishBatchFor(ctx context.Context, who Client, batch []Publication) ([]Receipt, error) {
	size := 0
	for i := range batch {
		if err := batch[i].check(int(b.maxMessage.Load())); err != nil {
			e := protocol.ErrorFrom(err)
			return nil, protocol.Errorf(e.Code, "message %d: %s", i, e.Message)
		}
		size += len(batch[i].Payload) + entryOverhead
	}
	switch {
	case len(batch) == 0:
		return nil, nil
	case len(batch) == 1:
		r, err := b.Publish(ctx, batch[0])
		return []Receipt{r}, err
	case len(batch) > protocol.MaxBatch:
		return nil, protocol.Errorf(protocol.BadRequest, "a batch of %d messages: at most %d are allowed", len(batch), protocol.MaxBatch)
	}
	if err := b.admit(size); err != nil {
		return nil, err
	}
	receipts, err := b.storeInTurn(ctx, batch, who)
	if !isDuplicate(err) {
		return receipts, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	// Batches are atomic, so as a rule this is one that was stored before, and
	// nothing is stored again.
	receipts = make([]Receipt, len(batch))
	for i := range batch {
		if receipts[i], err = b.store(ctx, b.msg(&batch[i])); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}

// storeInTurn stores the batch as one when its client's turn comes.
func (b *Broker) storeInTurn(ctx context.Context, batch []Publication, who Client) ([]Receipt, error) {
	done, err := b.batchTurn(ctx, who)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	return b.storeAtomically(ctx, batch)
}

// storeAtomically sends a batch as JetStream's atomic batch publish (ADR-50):
// the messages without replies, and the last one commits them.
func (b *Broker) storeAtomically(ctx context.Context, batch []Publication) ([]Receipt, error) {
	id := rand.Text()
	var last *nats.Msg
	for i := range batch {
		m := b.msg(&batch[i])
		m.Header["Nats-Batch-Id"] = []string{id}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i == len(batch)-1 {
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			last = m
			break
		}
		if err := b.publishing.PublishMsg(m); err != nil {
			return nil, b.publishFailed(err)
		}
	}
	reply, err := b.publishing.RequestMsgWithContext(ctx, last)
	if err != nil {
		return nil, b.publishFailed(err)
	}
	var ack struct {
		Sequence uint64              `json:"seq"`
		Batch    int                 `json:"count"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return nil, b.publishFailed(err)
	}
	if ack.Error != nil {
		if isDuplicate(ack.Error) {
			return nil, ack.Error
		}
		return nil, b.publishFailed(ack.Error)
	}
	if ack.Batch != len(batch) {
		return nil, b.publishFailed(fmt.Errorf("%d of %d messages of a batch were stored", ack.Batch, len(batch)))
	}
	b.acknowledge(ack.Sequence)
	receipts := make([]Receipt, len(batch))
	for i := range receipts {
		receipts[i].ID = b.id(ack.Sequence - uint64(len(batch)-1-i))
		b.countStored(false)
	}
	return receipts, nil
}

// The error codes of JetStream's that need more than an apology.
const (
	codeDuplicateInBatch = jetstream.ErrorCode(server.JSAtomicPublishContainsDuplicateMessageErr)
	codeInProcess        = jetstream.ErrorCode(server.JSStreamDuplicateMessageConflict)
)

func isDuplicate(err error) bool { return hasCode(err, codeDuplicateInBatch) }
func inProcess(err error) bool   { return hasCode(err, codeInProcess) }

func hasCode(err error, code jetstream.ErrorCode) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == code
}

// publishFailed is what a client is told.
func (b *Broker) publishFailed(err error) error {
	b.stats.publishErrors.Add(1)
	if errors.Is(err, context.Canceled) {
		return err // the client itself went away
	}
	if isTooLarge(err) {
		return protocol.Errorf(protocol.TooLarge, "the log does not take messages of that size: make it smaller").Because(err)
	}
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.Code == 503 {
		full := protocol.Errorf(protocol.Unavailable, "the log is full: retry, with the same key, when its operator has made room")
		full.RetryAfter = 5 * time.Second
		return full.Because(err)
	}
	return errUnreachable().Because(err)
}

// pause waits for d, or for ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Purge removes all messages of a channel, and returns the position up to
// which it did. Every reader that comes past it, now or later, gets a gap.
func (b *Broker) Purge(ctx context.Context, channel string) (protocol.ID, error) {
	if err := protocol.CheckChannel(channel); err != nil {
		return protocol.ID{}, err
	}
	if b.stale.Load() {
		return protocol.ID{}, errStale()
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	// The mark goes first: if the purge then fails, readers are told of a gap
	// that is not there, rather than not told of one that is.
	mark := &nats.Msg{Subject: b.options.Prefix + "." + channel, Header: nats.Header{headerPurge: []string{"1"}}}
	receipt, err := b.store(ctx, mark)
	if err != nil {
		return protocol.ID{}, err
	}
	stream, err := b.publisher.Stream(ctx, b.options.Stream)
	if err != nil {
		return protocol.ID{}, b.publishFailed(err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(mark.Subject), jetstream.WithPurgeSequence(receipt.ID.Seq)); err != nil {
		return protocol.ID{}, b.publishFailed(err)
	}
	return receipt.ID, nil
}

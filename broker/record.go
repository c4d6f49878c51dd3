package broker

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fairlead/fairlead/protocol"
)

// The headers of a stored message (PROTOCOL.md 5).
const (
	headerType     = "Fairlead-Type"
	headerFrom     = "Fairlead-From"
	headerEncoding = "Fairlead-Encoding"
	headerPurge    = "Fairlead-Purge"
	headerKey      = "Nats-Msg-Id"
)

// An Entry is one frame of the log as readers get it: a message, or a gap
// where messages are missing. It is immutable and shared by all of them.
type Entry struct {
	Seq     uint64
	Channel string
	Time    time.Time // when it was stored; zero for a gap that only this reader has
	Wire    protocol.Wire
	Gap     bool

	dead atomic.Bool // purged
}

// entryOverhead is what an entry costs beside its wire: itself, and pointers to it.
const entryOverhead = 160

func (e *Entry) size() int { return e.Wire.Len() + entryOverhead }

// record is a stored message as JetStream hands it over.
type record struct {
	seq     uint64
	time    time.Time
	subject string
	header  nats.Header
	data    []byte
}

// entry turns a stored message into what readers get. It reports false for a
// message that is no message of a channel: anybody with access to NATS may
// publish below the prefix.
func (b *Broker) entry(r record) (*Entry, bool) {
	channel, below := strings.CutPrefix(r.subject, b.options.Prefix+".") // an external stream may have other subjects too
	if !below || protocol.CheckChannel(channel) != nil {
		return nil, false
	}
	id := b.id(r.seq)
	e := &Entry{Seq: r.seq, Channel: channel, Time: r.time}
	if _, purge := r.header[headerPurge]; purge {
		e.Gap = true
		e.Wire = (&protocol.Gap{Channel: channel, From: protocol.Cursor{}, To: id, Reason: protocol.GapPurged}).Wire()
		return e, true
	}
	m := protocol.Message{
		ID:       id,
		Channel:  channel,
		Type:     r.header.Get(headerType),
		Payload:  r.data,
		Encoding: protocol.Encoding(r.header.Get(headerEncoding)),
		Time:     r.time,
		From:     r.header.Get(headerFrom),
		Key:      keyOf(channel, r.header.Get(headerKey)),
	}
	e.Wire = m.Wire()
	return e, true
}

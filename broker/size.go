package broker

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// largestRecord is what JetStream stores as one message at most, with its
// headers, and what the embedded server takes. To take much costs a server no
// memory: the buffers of a connection grow with what comes. So the limit on
// messages may change below it while the server runs.
const largestRecord = 32 << 20

// defaultMaxMessage is the limit on a payload until SetMaxMessage.
const defaultMaxMessage = 256 << 10

// headerRoom is more than the headers of any message take, which NATS counts as
// part of it: channel, type, key, who it is from, and the names of all those.
const headerRoom = 4 << 10

// SetMaxMessage bounds the payload of what is published from now on. It fails,
// and changes nothing, if NATS does not take that much.
func (b *Broker) SetMaxMessage(n int) error {
	takes := b.publishing.MaxPayload()
	if b.streamTakes > 0 {
		takes = min(takes, b.streamTakes)
	}
	switch needs := int64(n) + headerRoom; {
	case needs > largestRecord:
		return fmt.Errorf("broker: the log stores no messages of %d bytes: set limits.frame to at most %d", n, largestRecord-headerRoom)
	case needs > takes:
		return fmt.Errorf("broker: NATS takes messages of at most %d bytes with their headers: set limits.frame to at most %d, or raise its max_payload (and the stream's max_msg_size, if it has one) to at least %d", takes, takes-headerRoom, needs)
	}
	b.maxMessage.Store(int64(n))
	return nil
}

// isTooLarge tells whether NATS refuses a message for its size: its limit is a
// lower one than when ours was set.
func isTooLarge(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || hasCode(err, jetstream.ErrorCode(server.JSStreamMessageExceedsMaximumErr))
}

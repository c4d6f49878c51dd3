package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fairlead/fairlead/protocol"
)

// relayTimeout bounds how long another node is waited for.
const relayTimeout = 5 * time.Second

// Relay answers what other nodes Ask of this one, each in a goroutine of its
// own, until the broker is closed. handle's answer is sent back as it is. It
// is to be called once, before Close.
func (b *Broker) Relay(handle func(ctx context.Context, request []byte) []byte) error {
	relay, err := b.publishing.Subscribe(b.relaySubject(b.node), func(m *nats.Msg) {
		b.wg.Go(func() {
			ctx, cancel := context.WithTimeout(b.background, relayTimeout)
			defer cancel()
			if err := m.Respond(handle(ctx, m.Data)); err != nil {
				b.log.Warn("another node's request could not be answered", "error", err)
			}
		})
	})
	if err != nil {
		return fmt.Errorf("broker: listen to other nodes: %w", err)
	}
	// Until the last callback has returned, Close waits: then none can add to
	// what it waits for.
	b.wg.Add(1)
	relay.SetClosedHandler(func(string) { b.wg.Done() })
	b.relay = relay
	ctx, cancel := context.WithTimeout(b.background, relayTimeout)
	defer cancel()
	return b.publishing.FlushWithContext(ctx) // or the first request could find nobody
}

// endRelay makes other nodes find nobody here, at once: what they ask after
// this gets no answer. It changes nothing if the connection is down.
func (b *Broker) endRelay(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = b.relay.Unsubscribe()
	_ = b.publishing.FlushWithContext(ctx)
}

// Ask asks another node, and returns its answer. A node that is not there any
// more gives the error gone: what was attached to it has ended.
func (b *Broker) Ask(ctx context.Context, node string, request []byte) ([]byte, error) {
	if !isNode(node) {
		return nil, errGone()
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	m, err := b.publishing.RequestWithContext(ctx, b.relaySubject(node), request)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, errGone().Because(err)
	}
	if err != nil {
		return nil, errUnreachable().Because(err)
	}
	return m.Data, nil
}

func (b *Broker) relaySubject(node string) string {
	return "fairlead." + b.options.Stream + ".node." + node
}

// isNode tells whether a client's word may be part of a subject.
func isNode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func errGone() *protocol.Error {
	return protocol.Errorf(protocol.Gone, "the attachment has ended: attach anew")
}

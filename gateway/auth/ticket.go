package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// TicketLifetime is how long a ticket is good for.
const TicketLifetime = 30 * time.Second

const ticketPrefix = "tk_"

// A TicketStore keeps tickets for all nodes. Any number may use it at the same time.
type TicketStore interface {
	// Put keeps record under key, for lifetime at least.
	Put(ctx context.Context, key string, record []byte, lifetime time.Duration) error
	// Take gives the record back and forgets it. Of all who take it, on whichever
	// node, one gets it; the others, and who takes what is not there, get nil.
	Take(ctx context.Context, key string) (record []byte, err error)
}

// Tickets gives out credentials that work once, within 30 seconds, and so may be
// in a URL: EventSource and plain WebSockets can send no header.
type Tickets struct{ Store TicketStore }

// A ticket is what the store keeps of one.
type ticket struct {
	Grant *Grant    `json:"grant"`
	Until time.Time `json:"until"` // stores forget late
}

// Issue makes a ticket for a grant.
func (t *Tickets) Issue(ctx context.Context, g *Grant) (string, error) {
	record, err := json.Marshal(ticket{g, time.Now().Add(TicketLifetime)})
	if err != nil {
		return "", err
	}
	id := ticketPrefix + rand.Text()
	if err := t.Store.Put(ctx, ticketKey(id), record, TicketLifetime); err != nil {
		return "", err
	}
	return id, nil
}

// Redeem is the grant of a ticket, which is used up by that. It lasts as long as
// the grant for which it was issued; whether that was revoked meanwhile is another question.
func (t *Tickets) Redeem(ctx context.Context, id string) (*Grant, error) {
	if !strings.HasPrefix(id, ticketPrefix) {
		return nil, refuse("this is no ticket: only one from POST /v1/tickets may be in a URL")
	}
	record, err := t.Store.Take(ctx, ticketKey(id))
	if err != nil {
		return nil, err
	}
	var kept ticket
	if record != nil {
		if err := json.Unmarshal(record, &kept); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	if kept.Grant == nil || !now.Before(kept.Until) {
		return nil, refuse("the ticket is not known: each works once, within %s; ask for another", TicketLifetime)
	}
	if err := kept.Grant.Check(now); err != nil {
		return nil, err
	}
	return kept.Grant, nil
}

// ticketKey is the name of a ticket in the store. Who reads the store cannot use the tickets.
func ticketKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// maxTickets is how many a MemoryTickets keeps.
const maxTickets = 10_000

// MemoryTickets is a TicketStore for a node that is alone. The zero value is ready.
type MemoryTickets struct {
	mu   sync.Mutex // guards the following
	kept map[string]keptTicket
}

type keptTicket struct {
	record []byte
	until  time.Time
}

// Put implements TicketStore. It fails if there are too many that nobody has taken.
func (m *MemoryTickets) Put(_ context.Context, key string, record []byte, lifetime time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if len(m.kept) >= maxTickets {
		for k, t := range m.kept {
			if !now.Before(t.until) {
				delete(m.kept, k)
			}
		}
	}
	if len(m.kept) >= maxTickets {
		e := protocol.Errorf(protocol.RateLimited, "%d tickets wait to be used: use those, or wait until they end", maxTickets)
		e.RetryAfter = lifetime
		return e
	}
	if m.kept == nil {
		m.kept = map[string]keptTicket{}
	}
	m.kept[key] = keptTicket{record, now.Add(lifetime)}
	return nil
}

// Take implements TicketStore.
func (m *MemoryTickets) Take(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record := m.kept[key].record
	delete(m.kept, key)
	return record, nil
}

package broker

import (
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// Exceeded is the cause of an error for a client that is over a limit of the
// broker's: the limit's name.
type Exceeded string

// The limits of the broker's.
const (
	ExceededChannels      Exceeded = "channels" // Reader.SetLimit
	ExceededSubscriptions Exceeded = "subscriptions_per_client"
	ExceededPatterns      Exceeded = "patterns_per_client"
	ExceededShapes        Exceeded = "pattern_shapes" // of one reader
	ExceededBatches       Exceeded = "batches"        // that are stored at a time
)

func (e Exceeded) Error() string { return "the limit " + string(e) }

// holdWait is how long a client that has too many subscriptions is asked to wait.
const holdWait = 5 * time.Second

// holdings are the subscriptions of each client, over all its readers.
type holdings struct {
	mu sync.Mutex // guards the following
	of map[string]*holding
}

type holding struct {
	subscriptions int
	patterns      map[string]int // how many of them are to each pattern
}

func newHoldings() *holdings { return &holdings{of: make(map[string]*holding)} }

// enter counts one more subscription of the client, or fails with an error for
// it. The caller calls leave.
func (h *holdings) enter(who Client, s span) error {
	if who.Key == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	has := h.of[who.Key]
	if has == nil {
		has = &holding{patterns: make(map[string]int)}
	}
	if most := who.Subscriptions; most > 0 && has.subscriptions >= most {
		return exceeded(ExceededSubscriptions, holdWait, "you have %d subscriptions, as many as you may, over all your attachments: end some, or subscribe to a pattern in place of many channels", most)
	}
	if most := who.Patterns; s.wild && most > 0 && has.patterns[s.name] == 0 && len(has.patterns) >= most {
		return exceeded(ExceededPatterns, holdWait, "you follow %d different patterns, as many as you may, over all your attachments: follow fewer that are wider, or channels", most)
	}
	h.of[who.Key] = has
	has.subscriptions++
	if s.wild {
		has.patterns[s.name]++
	}
	return nil
}

// leave gives back what enter counted of the client with that key.
func (h *holdings) leave(key string, s span) {
	if key == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	has := h.of[key]
	if has.subscriptions--; has.subscriptions == 0 {
		delete(h.of, key)
	}
	if s.wild {
		if has.patterns[s.name]--; has.patterns[s.name] == 0 {
			delete(has.patterns, s.name)
		}
	}
}

func exceeded(limit Exceeded, wait time.Duration, format string, args ...any) error {
	e := protocol.Errorf(protocol.RateLimited, format, args...)
	e.RetryAfter = wait
	return e.Because(limit)
}

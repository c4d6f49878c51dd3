package fairlead

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	goodFor     = 7 * 24 * time.Hour
	badFor      = 30 * time.Minute
	maxNetworks = 50 // a Memory holds; the one that was seen longest ago makes room
)

// A Memory is what was learned about networks: which transport works there and
// which does not, so that the next subscription need not find out again. Its
// JSON may be kept in a file from one run to the next. The zero value is an
// empty one. Safe for concurrent use, by several clients of one gateway too.
type Memory struct {
	mu       sync.Mutex
	networks []network // the latest one last; guarded by mu
}

// network is what is known about one, by the hint of the server's welcome.
type network struct {
	Net  string                           `json:"net"`
	Good protocol.Transport               `json:"good"`
	Till time.Time                        `json:"till"` // of Good
	Bad  map[protocol.Transport]time.Time `json:"bad,omitempty"`
}

// recollection is what a Memory holds of a network at some time.
type recollection struct {
	Net  string
	Good protocol.Transport // empty: nothing is known
	Bad  []protocol.Transport
}

// latest is the network that was noted last: most probably this is the one.
func (m *Memory) latest(now time.Time) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.networks) == 0 {
		return recollection{}
	}
	return m.networks[len(m.networks)-1].recall(now)
}

func (m *Memory) recall(net string, now time.Time) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.networks {
		if n.Net == net {
			return n.recall(now)
		}
	}
	return recollection{Net: net}
}

func (n *network) recall(now time.Time) recollection {
	r := recollection{Net: n.Net}
	if now.Before(n.Till) {
		r.Good = n.Good
	}
	for t, until := range n.Bad {
		if now.Before(until) {
			r.Bad = append(r.Bad, t)
		}
	}
	return r
}

func (m *Memory) note(r recollection, now time.Time) {
	now = now.Round(0)
	n := network{Net: r.Net, Good: r.Good, Till: now.Add(goodFor), Bad: map[protocol.Transport]time.Time{}}
	for _, t := range r.Bad {
		n.Bad[t] = now.Add(badFor)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks = slices.DeleteFunc(m.networks, func(other network) bool { return other.Net == r.Net })
	m.networks = append(m.networks, n)
	m.networks = m.networks[max(0, len(m.networks)-maxNetworks):]
}

// MarshalJSON is the memory as UnmarshalJSON reads it.
func (m *Memory) MarshalJSON() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return json.Marshal(m.networks)
}

// UnmarshalJSON replaces the memory by what was kept.
func (m *Memory) UnmarshalJSON(b []byte) error {
	var networks []network
	if err := json.Unmarshal(b, &networks); err != nil {
		return fmt.Errorf("fairlead: read a memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks = networks[max(0, len(networks)-maxNetworks):]
	return nil
}

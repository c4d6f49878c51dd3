package admission

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/fairlead/fairlead/protocol"
)

// ErrFlood is that as many requests of an address are refused, and have not taken
// that answer, as may. It is not for a client: there is no answer.
var ErrFlood = errors.New("admission: too many requests that are refused wait for their clients to take the answer")

// requestRefusals is how many requests of one address beyond those that it may
// have are told so at a time. Their clients may let that answer wait as well.
const requestRefusals = 256

// requestShards is how many locks the requests of all addresses share. Each
// request takes one twice, on every core.
const requestShards = 64

// requests are those in progress, by address. Its methods may be called
// concurrently.
type requests struct {
	most   atomic.Int64 // of one address; below zero is no limit
	seed   maphash.Seed // so that nobody can choose addresses that share a lock
	shards [requestShards]requestShard
}

type requestShard struct {
	mu sync.Mutex         // guards the following
	of map[netip.Addr]int // none of them is 0
	_  [48]byte           // a lock that another core has taken slows down what is in its cache line
}

func newRequests() *requests {
	r := &requests{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].of = make(map[netip.Addr]int)
	}
	return r
}

func (r *requests) shard(ip netip.Addr) *requestShard {
	bytes := ip.As16()
	return &r.shards[maphash.Bytes(r.seed, bytes[:])%requestShards]
}

// add adds n to what the address has, but nothing beyond most, and returns what
// it would have. Below zero, most is no limit.
func (r *requests) add(ip netip.Addr, n int, most int64) int64 {
	s := r.shard(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.of[ip] + n
	switch {
	case most >= 0 && int64(has) > most:
	case has <= 0:
		delete(s.of, ip)
	default:
		s.of[ip] = has
	}
	return int64(has)
}

// sum is what all addresses have.
func (r *requests) sum() (n int) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, of := range s.of {
			n += of
		}
		s.mu.Unlock()
	}
	return n
}

// Serve counts a request of c as in progress, whatever it is for, until Served.
// On an error it must not be carried out, and is counted all the same: with its
// answer it is in progress until the client has taken that. After ErrFlood it is
// not counted, must not be answered, and there must be no Served.
func (d *Door) Serve(c Client) error {
	if !c.IP.IsValid() {
		return nil
	}
	most, bound := d.requests.most.Load(), int64(-1)
	if most >= 0 {
		bound = most + requestRefusals
	}
	switch n := d.requests.add(c.IP, 1, bound); {
	case most < 0 || n <= most:
		return nil
	case n <= bound:
		return d.refuse("requests_per_ip", protocol.RateLimited, fullWait, "%d requests of your address are in progress, as many as may be at a time: wait, and take your answers", most)
	default:
		d.refused("requests_per_ip")
		return ErrFlood
	}
}

// Served counts that a request of c is in progress no longer. It is called once
// for each Serve that counted one.
func (d *Door) Served(c Client) {
	if c.IP.IsValid() {
		d.requests.add(c.IP, -1, -1)
	}
}

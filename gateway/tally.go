package gateway

import (
	"net/netip"
	"sync"
)

// tally counts what each address has under way. Its methods may be called concurrently.
type tally struct {
	most int // of one address; below zero is no limit

	mu sync.Mutex         // guards the following
	of map[netip.Addr]int // none of them is 0
}

func newTally(most int) *tally { return &tally{most: most, of: make(map[netip.Addr]int)} }

// enter counts one more of the address, if it may have that. The zero address
// always may, and is not counted. The caller calls leave.
func (t *tally) enter(ip netip.Addr) bool {
	if t.most < 0 || !ip.IsValid() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[ip] >= t.most {
		return false
	}
	t.of[ip]++
	return true
}

func (t *tally) leave(ip netip.Addr) {
	if t.most < 0 || !ip.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[ip]--; t.of[ip] <= 0 {
		delete(t.of, ip)
	}
}

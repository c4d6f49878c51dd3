package admission

import "sync"

// tally counts what each key, such as an address, has under way. Its methods may
// be called concurrently.
type tally[K comparable] struct {
	mu   sync.Mutex // guards the following
	most int        // of one key; below zero is no limit
	of   map[K]int  // none of them is 0
}

// newTally makes a tally without a limit.
func newTally[K comparable]() *tally[K] { return &tally[K]{most: -1, of: make(map[K]int)} }

// setMost sets how much one key may have; below zero is no limit. What is under
// way beyond it stays.
func (t *tally[K]) setMost(most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = most
}

// enter counts one more of the key, if it may have that: see enterN.
func (t *tally[K]) enter(key K) bool { return t.enterN(key, 1) }

// leave gives one back.
func (t *tally[K]) leave(key K) { t.leaveN(key, 1) }

// enterN counts n more of the key, if it may have those. The zero key always
// may, and is not counted. The caller calls leaveN.
func (t *tally[K]) enterN(key K, n int) bool {
	if key == *new(K) {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.most >= 0 && n > t.most-t.of[key] {
		return false
	}
	t.of[key] += n
	return true
}

func (t *tally[K]) leaveN(key K, n int) {
	if key == *new(K) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[key] -= n; t.of[key] <= 0 {
		delete(t.of, key)
	}
}

// sum is what all keys have.
func (t *tally[K]) sum() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.of {
		n += of
	}
	return n
}

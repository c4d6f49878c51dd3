package admission

import (
	"sync"
	"time"
)

// flows are pairs of token buckets, one of messages and one of their bytes, for
// each key that was busy lately. Its methods may be called concurrently.
type flows[K comparable] struct {
	mu              sync.Mutex // guards the following
	messages, bytes rate
	flows           generations[K, flow]
}

// A flow is when its two buckets will be full.
type flow struct{ messages, bytes moment }

// newFlows makes flows without a limit.
func newFlows[K comparable]() *flows[K] { return &flows[K]{messages: -1, bytes: -1} }

// setRates makes the buckets fill at so many a second; below zero is no limit. If
// one of that is something new they are all full.
func (f *flows[K]) setRates(messages, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rate(messages) != f.messages || rate(bytes) != f.bytes {
		f.messages, f.bytes, f.flows = rate(messages), rate(bytes), generations[K, flow]{}
	}
}

// take takes n messages with so many bytes from the key's flow, or nothing, and
// then returns how long it takes until it holds as many messages, or otherwise bytes.
func (f *flows[K]) take(key K, n, bytes int, now moment) (forMessages, forBytes time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.messages < 0 && f.bytes < 0 {
		return 0, 0
	}
	at := f.flows.of(key, now)
	var then flow
	if then.messages, forMessages = f.messages.after(at.messages, n, now); forMessages > 0 {
		return forMessages, 0
	}
	if then.bytes, forBytes = f.bytes.after(at.bytes, bytes, now); forBytes == 0 {
		*at = then
	}
	return 0, forBytes
}

// give gives back what was taken from the key's flow just now.
func (f *flows[K]) give(key K, n, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.flows.find(key); at != nil {
		at.messages -= f.messages.cost(n)
		at.bytes -= f.bytes.cost(bytes)
	}
}

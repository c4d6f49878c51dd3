// Package brokertest is for tests with a broker on fake time.
package brokertest

import (
	"testing"
	"testing/synctest"
	"time"
)

// inBubble tells whether the test is in a bubble. None that uses the package is parallel to another.
var inBubble bool

// Bubble runs f with fake time, as synctest.Test does.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	inBubble = true
	defer func() { inBubble = false }()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // after a write nats-server looks every 1 ms whether it is closed
		f(t)
	})
}

// Settle waits, in a bubble, until what nats-server was asked is done, before it is closed:
// it sleeps then with a lock held, and who waits for that stops a bubble's clock.
func Settle() {
	if inBubble {
		synctest.Wait()
	}
}

package broker

import (
	"testing"
)

// Not in a bubble, as TestTheServerIsRestartedInPlaceAndReadersGoOn.
func TestAServerWhoseRestartFailedIsStartedAgain(t *testing.T) {
	b := open(t, Options{})
	fill(t, b, 1, "a")
	b.server.mu.Lock()
	server := b.server.server
	b.server.server = nil
	b.server.mu.Unlock()
	server.Shutdown()
	server.WaitForShutdown()
	publishWhenPossible(t, b, "k")
	r := newReader(t, b)
	subscribe(t, r, "a", earliest())
	equal(t, "all", collect(t, r, 2), []string{"1", "2"})
}

func TestAServerThatWasStoppedIsNotStartedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		closeBroker(t, b)
		if err := b.server.restart(); err != nil || b.server.server != nil {
			t.Errorf("restart: %v", err)
		}
		if err := b.server.start(); err != nil || b.server.server != nil {
			t.Errorf("start: %v", err)
		}
	})
}

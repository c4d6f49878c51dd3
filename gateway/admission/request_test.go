package admission

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestRequestsOfAnAddressAreLimited(t *testing.T) {
	w := doorWith(Limits{RequestsPerIP: 2})
	want(t, w.Serve(someone))
	want(t, w.Serve(Client{IP: someone.IP, APIKey: "backend", Trusted: true})) // whoever it is
	if wait := w.wantRefused(t, w.Serve(someone), protocol.RateLimited, "requests_per_ip"); wait != 5*time.Second {
		t.Errorf("asks for %v", wait)
	}
	others := []Client{another, another, local, local, local}
	for _, c := range others {
		want(t, w.Serve(c))
	}
	w.Served(someone) // what was refused, and has been told so
	w.wantRefused(t, w.Serve(someone), protocol.RateLimited, "requests_per_ip")
	w.Served(someone)
	w.Served(someone)
	want(t, w.Serve(someone))
	for _, c := range append(others, someone, someone) {
		w.Served(c)
	}
	w.wantNothingTaken(t)
}

// TestRefusalsThatNobodyTakesAreLimited: what is beyond them is cut off, counts nowhere, and is counted.
func TestRefusalsThatNobodyTakesAreLimited(t *testing.T) {
	w := doorWith(Limits{RequestsPerIP: 3})
	for range 3 {
		want(t, w.Serve(someone))
	}
	for range requestRefusals {
		w.wantRefused(t, w.Serve(someone), protocol.RateLimited, "requests_per_ip")
	}
	for range 5 {
		if err := w.Serve(someone); !errors.Is(err, ErrFlood) {
			t.Fatalf("got %v, want %v", err, ErrFlood)
		}
	}
	if len(w.refusals) != 5 || w.refusals[0] != "requests_per_ip" {
		t.Errorf("counted are %v", w.refusals)
	}
	w.refusals = nil
	w.Served(someone)
	w.wantRefused(t, w.Serve(someone), protocol.RateLimited, "requests_per_ip")
	for range 3 + requestRefusals {
		w.Served(someone)
	}
	w.wantNothingTaken(t)
}

func TestRequestsMayBeWithoutALimit(t *testing.T) {
	w := doorWith(Limits{RequestsPerIP: -1})
	for range 20_000 {
		want(t, w.Serve(someone))
	}
	w.SetLimits(Limits{RequestsPerIP: 1})
	if err := w.Serve(someone); !errors.Is(err, ErrFlood) {
		t.Errorf("got %v, want %v", err, ErrFlood)
	}
	for range 20_000 {
		w.Served(someone)
	}
	w.wantNothingTaken(t)
	want(t, w.Serve(someone))
	w.Served(someone)
}

// TestRequestsAreCountedFromEverywhereAtOnce also looks at what is left of addresses, and that they share few locks.
func TestRequestsAreCountedFromEverywhereAtOnce(t *testing.T) {
	d, _, addrs := benchDoor(1000)
	inUse := func() (shards int) {
		for i := range d.requests.shards {
			shards += min(len(d.requests.shards[i].of), 1)
		}
		return shards
	}
	for _, ip := range addrs {
		want(t, d.Serve(Client{IP: ip}))
	}
	if n := inUse(); n < requestShards/2 {
		t.Errorf("%d addresses share %d locks", len(addrs), n)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				c := Client{IP: addrs[rand.N(len(addrs))]}
				if err := d.Serve(c); err != nil {
					t.Error(err)
					return
				}
				d.Served(c)
			}
		})
	}
	wg.Wait()
	for _, ip := range addrs {
		d.Served(Client{IP: ip})
	}
	if n, left := d.requests.sum(), inUse(); n != 0 || left != 0 {
		t.Errorf("%d are still in progress, and %d locks have some", n, left)
	}
}

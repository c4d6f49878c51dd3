package admission

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestAFanoutIsCountedAsOftenAsItIsStored(t *testing.T) {
	w := doorWith(Limits{Fanout: 1000})
	want(t, w.Fanout(100, 10))
	w.wantRefused(t, w.Fanout(101, 10), protocol.TooLarge, "fanout")
	w.wantRefused(t, w.Fanout(1<<62, 1<<20), protocol.TooLarge, "fanout")
	want(t, doorWith(Limits{Fanout: -1}).Fanout(1<<62, 1<<20))
}

// Who has no sub would else have no such limit, and wash out what others have stored.
func TestPublishesOfNobodyCountToTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for limit, l := range map[string]Limits{"publishes_per_sub": {PublishesPerSub: 1}, "publish_bytes_per_sub": {PublishBytesPerSub: 9}} {
			w := doorWith(l)
			for _, c := range []Client{{IP: someone.IP}, {IP: another.IP}, {Subject: "ann", IP: someone.IP}, {Subject: "ann's brother", IP: someone.IP}} {
				for range BurstSeconds {
					want(t, w.Publish(c, "a", 1, 9))
				}
				w.wantRefused(t, w.Publish(c, "a", 1, 9), protocol.RateLimited, limit)
			}
			for range 2 * BurstSeconds {
				want(t, w.Publish(Client{IP: someone.IP, APIKey: "k", Trusted: true}, "a", 1, 9))
				want(t, w.Publish(Client{IP: someone.IP, Trusted: true}, "a", 1, 9))
				want(t, w.Publish(local, "a", 1, 9))
			}
		}
	})
}

// A fan-out is one thing: it is taken as a whole, also if a bucket never holds so much, or refused and costs nothing.
func TestAFanoutIsTakenAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := doorWith(Limits{PublishesPerSub: 4, PublishBytesPerSub: 100, Publishes: 1})
		all := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
		want(t, w.PublishToEach(someone, all, 50))
		w.wantRefused(t, w.PublishToEach(someone, all[:1], 1), protocol.RateLimited, "publishes_per_sub")
		w.SetLimits(Limits{PublishesPerSub: 400, PublishBytesPerSub: 100, Publishes: 1}) // and all begins anew for subjects
		want(t, w.Publish(someone, "z", 1, 450))
		w.wantRefused(t, w.PublishToEach(someone, all[:1], 1), protocol.RateLimited, "publish_bytes_per_sub")
		want(t, w.PublishToEach(another, all, 50))
		time.Sleep(BurstSeconds * time.Second)
		want(t, w.Publish(local, "i", 2, 2)) // has had all that it may
		for range 10 {
			w.wantRefused(t, w.PublishToEach(someone, all, 1), protocol.RateLimited, "publishes")
		}
		want(t, w.Publish(local, "a", 2, 2)) // of what was refused nothing counts
		want(t, w.PublishToEach(someone, all[1:8], 50/7))
	})
}

// Naming a channel often is no way round what it may get.
func TestAFanoutCountsAChannelAsOftenAsItIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for limit, l := range map[string]Limits{"publishes": {Publishes: 2}, "publish_bytes": {PublishBytes: 20}} {
			w := doorWith(l)
			origin := Client{APIKey: "k", Trusted: true}
			want(t, w.PublishToEach(origin, []string{"a", "b", "a", "a"}, 10))
			w.wantRefused(t, w.PublishToEach(origin, []string{"c", "a", "b", "a"}, 10), protocol.RateLimited, limit)
			want(t, w.PublishToEach(origin, []string{"c", "c", "c", "c"}, 10)) // of what was refused nothing counts
			w.wantRefused(t, w.PublishToEach(origin, []string{"c"}, 10), protocol.RateLimited, limit)
		}
	})
}

// Who is refused because of a channel has not used up what they may elsewhere.
func TestAPublishThatIsRefusedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for limit, l := range map[string]Limits{
			"publishes":             {Publishes: 1, PublishesPerSub: 10, PublishBytesPerSub: 100},
			"publish_bytes":         {PublishBytes: 10, Publishes: 3, PublishesPerSub: 10, PublishBytesPerSub: 100},
			"publish_bytes_per_sub": {Publishes: 12, PublishesPerSub: 10, PublishBytesPerSub: 10},
		} {
			w := doorWith(l)
			for range BurstSeconds {
				want(t, w.Publish(someone, "hot", 1, 10))
			}
			for range 100 {
				w.wantRefused(t, w.Publish(someone, "hot", 1, 10), protocol.RateLimited, limit)
			}
			if limit == "publish_bytes_per_sub" {
				want(t, w.Publish(someone, "hot", 18, 0))
				continue
			}
			for i := range 18 {
				want(t, w.Publish(someone, strconv.Itoa(i), 1, 10))
			}
			if limit == "publish_bytes" {
				want(t, w.Publish(another, "hot", 4, 0))
			}
		}
	})
}

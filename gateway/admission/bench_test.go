package admission

import (
	"errors"
	"net/netip"
	"strconv"
	"testing"
)

// BenchmarkLimitCommand is what the limits add to a command. The bound is 200 ns and no allocation.
func BenchmarkLimitCommand(b *testing.B) {
	for _, sessions := range []int{1, 10_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			d, names, addrs := benchDoor(sessions)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 1) % sessions
				if err := d.Command(Client{IP: addrs[i]}, names[i]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLimitPublish is what they add to a command that publishes, by a client with a sub.
func BenchmarkLimitPublish(b *testing.B) {
	for _, sessions := range []int{1, 10_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			d, names, addrs := benchDoor(sessions)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 1) % sessions
				c := Client{IP: addrs[i], Subject: names[i]}
				if err := errors.Join(d.Command(c, names[i]), d.Publish(c, names[i], 1, 100)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchDoor is a door that never refuses, with so many sessions or channels and addresses.
func benchDoor(n int) (d *Door, names []string, addrs []netip.Addr) {
	const none = 1 << 40
	d = New(Limits{Commands: none, CommandsPerIP: none, Publishes: none, PublishBytes: none, PublishesPerSub: none, PublishBytesPerSub: none}, nil, nil)
	for i := range n {
		names = append(names, "session-of-some-length-"+strconv.Itoa(i))
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	for i := range n {
		_ = d.Command(Client{IP: addrs[i]}, names[i])
		_ = d.Publish(Client{}, names[i], 1, 1)
	}
	return d, names, addrs
}

// BenchmarkHold is what the count of what waits adds to each write.
func BenchmarkHold(b *testing.B) {
	d, _, addrs := benchDoor(1)
	s := d.Share(Client{IP: addrs[0]})
	b.ReportAllocs()
	for b.Loop() {
		s.Hold(100)
		if s.Stall() == 0 {
			b.Fatal("no time")
		}
		s.LetGo(100)
	}
}

// BenchmarkServe is what the count of requests adds to each. The bound is 200 ns, from begin to end, and no allocation.
func BenchmarkServe(b *testing.B) {
	for _, clients := range []int{1, 10_000} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			d, _, addrs := benchDoor(clients)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c := Client{IP: addrs[i%len(addrs)]}
					if err := d.Serve(c); err != nil {
						b.Error(err)
					}
					d.Served(c)
				}
			})
		})
	}
}

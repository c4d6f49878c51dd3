package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// benchEntry is a message of 200 bytes as the follower would append it.
func benchEntry(b *testing.B, broker *Broker, channel string, seq uint64) *Entry {
	b.Helper()
	e, ok := broker.entry(record{seq, time.Now(), "ch." + channel, nil, bytes.Repeat([]byte("x"), 200)})
	if !ok {
		b.Fatal(channel)
	}
	return e
}

// audience is readers that are served by a few workers, as a gateway would.
type audience struct {
	readers []*Reader
	queue   chan int
	got     atomic.Int64
	done    chan struct{} // has something in it when got reaches want
	want    atomic.Int64
	wg      sync.WaitGroup
}

func newAudience(b *testing.B, broker *Broker, n int, channel func(i int) string) *audience {
	a := &audience{readers: make([]*Reader, n), queue: make(chan int, n), done: make(chan struct{}, 1)}
	for i := range a.readers {
		a.readers[i] = broker.NewReader(func() { a.queue <- i }) // at most one each
		subscribe(b, a.readers[i], channel(i), protocol.Start{})
		a.readers[i].TryNext(make([]*Entry, 1))
	}
	for range 2 {
		a.wg.Go(a.work)
	}
	b.Cleanup(func() {
		close(a.queue)
		a.wg.Wait()
		for _, r := range a.readers {
			r.Close()
		}
	})
	return a
}

func (a *audience) work() {
	into := make([]*Entry, 64)
	for i := range a.queue {
		n := len(into)
		for n == len(into) {
			n = a.readers[i].TryNext(into)
			if a.got.Add(int64(n)) == a.want.Load() {
				a.done <- struct{}{}
			}
		}
	}
}

// BenchmarkFanOut delivers one message to 5,000 readers, of its channel and of
// a pattern, without NATS.
func BenchmarkFanOut(b *testing.B) {
	for _, name := range []string{"a", "*"} {
		b.Run(name, func(b *testing.B) {
			const readers = 5000
			broker := open(b, Options{})
			a := newAudience(b, broker, readers, func(int) string { return name })
			seq := uint64(0)
			deliver := func() {
				seq++
				a.want.Store(int64(seq) * readers)
				broker.tail.append(benchEntry(b, broker, "a", seq))
				<-a.done
				if got := a.got.Load(); got != int64(seq)*readers {
					b.Fatalf("%d were delivered of %d messages", got, seq)
				}
			}
			deliver() // makes room in each reader
			b.ReportAllocs()
			for b.Loop() {
				deliver()
			}
			b.ReportMetric(float64(b.N)*readers/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkCatchUpFromTail is a reconnect: 50 messages of one channel of a
// tail that is full of others.
func BenchmarkCatchUpFromTail(b *testing.B) {
	for _, name := range []string{"c.7", "c.7.>", "*.7"} {
		b.Run(name, func(b *testing.B) {
			broker := open(b, Options{})
			for seq := range uint64(50_000) {
				channel := fmt.Sprint("c.", seq%1000)
				if name == "c.7.>" {
					channel += ".x"
				}
				broker.tail.append(benchEntry(b, broker, channel, seq+1))
			}
			into := make([]*Entry, 64)
			b.ReportAllocs()
			for b.Loop() {
				r := broker.NewReader(func() {})
				subscribe(b, r, name, after(broker.id(7)))
				if n := r.TryNext(into); n != 50 && n != 49 {
					b.Fatal(n)
				}
				r.Close()
			}
		})
	}
}

// BenchmarkCatchUpFromLog reads 1,000 messages, of 20,000, that are not in the tail.
func BenchmarkCatchUpFromLog(b *testing.B) {
	broker := open(b, Options{TailBytes: 1})
	for i := range 20 {
		batch := make([]Publication, 1000)
		for j := range batch {
			batch[j] = Publication{Channel: fmt.Sprint("c.", j%20), Payload: bytes.Repeat([]byte("x"), 200)}
		}
		if _, err := broker.PublishBatch(b.Context(), batch); err != nil {
			b.Fatal(i, err)
		}
	}
	into := make([]*Entry, 64)
	for b.Loop() {
		r := broker.NewReader(nil)
		subscribe(b, r, "c.7", earliest())
		for got := 0; got < 1000; {
			n, err := r.Next(b.Context(), into)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
		r.Close()
	}
}

// BenchmarkIdleReader measures the heap that a reader holds while nothing happens.
func BenchmarkIdleReader(b *testing.B) {
	for _, c := range []struct {
		name    string
		channel func(i int) string
	}{
		{"a channel each", func(i int) string { return fmt.Sprint("user.", i) }},
		{"one channel", func(int) string { return "news" }},
	} {
		b.Run(c.name, func(b *testing.B) {
			const n = 10_000
			broker := open(b, Options{})
			names := make([]string, n)
			for i := range names {
				names[i] = c.channel(i)
			}
			into := make([]*Entry, 1)
			for b.Loop() {
				before := heap()
				readers := make([]*Reader, n)
				for i := range readers {
					readers[i] = broker.NewReader(func() {})
					subscribe(b, readers[i], names[i], protocol.Start{})
					readers[i].TryNext(into)
				}
				b.ReportMetric(float64(heap()-before)/n, "B/reader")
				for _, r := range readers {
					r.Close()
				}
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHello subscribes one reader to 1,000 names, and takes what there is of them.
func BenchmarkHello(b *testing.B) {
	for _, c := range []struct{ name, format string }{{"channels", "c.%d"}, {"patterns", "c.%d.>"}} {
		for _, start := range []string{"now", "in the tail"} {
			b.Run(c.name+" from "+start, func(b *testing.B) {
				broker := open(b, Options{})
				for seq := range uint64(50_000) {
					broker.tail.append(benchEntry(b, broker, fmt.Sprintf("c.%d.x", seq%5000), seq+1))
				}
				s := protocol.Start{}
				if start == "in the tail" {
					s = after(broker.id(10))
				}
				into := make([]*Entry, 64)
				for b.Loop() {
					r := broker.NewReader(func() {})
					for i := range 1000 {
						subscribe(b, r, fmt.Sprintf(c.format, i), s)
					}
					for r.TryNext(into) == len(into) {
					}
					r.Close()
				}
			})
		}
	}
}

// BenchmarkPublish waits for each acknowledgement.
func BenchmarkPublish(b *testing.B) {
	p := Publication{Channel: "a", Payload: bytes.Repeat([]byte("x"), 200)}
	b.Run("one at a time", func(b *testing.B) {
		broker := open(b, Options{})
		for b.Loop() {
			if _, err := broker.Publish(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 at a time", func(b *testing.B) {
		broker := open(b, Options{})
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := broker.Publish(b.Context(), p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkHistory reads the last 50 messages of a channel, of 1,000, that are in the tail or not.
func BenchmarkHistory(b *testing.B) {
	for _, c := range []struct {
		name string
		tail int
	}{{"tail", 0}, {"log", 1}} {
		b.Run(c.name, func(b *testing.B) {
			broker := open(b, Options{TailBytes: c.tail})
			batch := make([]Publication, 1000)
			for i := range batch {
				batch[i] = Publication{Channel: "a", Payload: bytes.Repeat([]byte("x"), 200)}
			}
			if _, err := broker.PublishBatch(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			awaitEnd(b, broker, 1000)
			b.ReportAllocs()
			for b.Loop() {
				page, err := broker.History(b.Context(), "a", protocol.Range{Last: 50}, 50)
				if err != nil || len(page.Messages) != 50 {
					b.Fatal(len(page.Messages), err)
				}
			}
		})
	}
}

// awaitEnd returns when the broker has followed its log up to a sequence of channel a.
func awaitEnd(b *testing.B, broker *Broker, seq uint64) {
	b.Helper()
	r := broker.NewReader(nil)
	defer r.Close()
	subscribe(b, r, "a", after(broker.id(seq-1)))
	if _, err := r.Next(b.Context(), make([]*Entry, 1)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHistoryAfterPublish reads a message back as soon as it is acknowledged.
func BenchmarkHistoryAfterPublish(b *testing.B) {
	broker := open(b, Options{})
	p := Publication{Channel: "a", Payload: bytes.Repeat([]byte("x"), 200)}
	missing := 0
	for b.Loop() {
		receipt, err := broker.Publish(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		page, err := broker.History(b.Context(), "a", protocol.Range{Last: 1}, 1)
		if err != nil {
			b.Fatal(err)
		}
		if len(page.Messages) == 0 || page.Messages[0].Seq < receipt.ID.Seq {
			missing++
		}
	}
	b.ReportMetric(float64(missing)/float64(b.N), "missing/op")
}

// BenchmarkPatterns delivers one message to 33 readers, of each of which as many
// patterns match it as may, without NATS.
func BenchmarkPatterns(b *testing.B) {
	const readers = 33
	broker := open(b, Options{})
	a := newAudience(b, broker, readers, func(int) string { return "nothing" })
	a.want.Store(-1) // the workers are at it from the first change on
	for i, r := range a.readers {
		for j := range maxShapes {
			subscribe(b, r, overlapping(i*maxShapes+j), protocol.Start{})
		}
	}
	seq := uint64(0)
	for b.Loop() {
		seq++
		a.want.Store(int64(seq) * readers)
		broker.tail.append(benchEntry(b, broker, deep, seq))
		<-a.done
	}
}

package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/fairlead/fairlead/protocol"
)

func TestReaderStartsWhereItIsTold(t *testing.T) {
	for _, place := range []struct {
		name string
		tail int
	}{{"from the tail", 1 << 20}, {"from the stored log", 1}} {
		t.Run(place.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t, Options{TailBytes: place.tail})
				for i := range 300 {
					publish(t, b, []string{"a", "b.1", "b.2"}[i%3], i)
				}
				synctest.Wait()
				at := func(seq uint64) protocol.Start { return after(b.id(seq)) }
				for _, c := range []struct {
					name  string
					start protocol.Start
					want  []string
					after string
				}{
					{"a", earliest(), []string{"1", "4", "7"}, "0"},
					{"a", at(0), []string{"1", "4"}, "-0"},
					{"a", at(150), []string{"151", "154"}, "-150"},
					{"a", at(297), []string{"298"}, "-297"},
					{"b.*", at(296), []string{"297", "299", "300"}, "-296"},
					{"b.>", protocol.Start{Last: 3}, []string{"297", "299", "300"}, "-296"},
					{"a", protocol.Start{Last: 2}, []string{"295", "298"}, "-294"},
					{"a", protocol.Start{Last: 100}, []string{"1", "4"}, "-0"},
					{"a", protocol.Start{Last: 1000}, []string{"1", "4"}, "-0"},
					{"nothing", protocol.Start{Last: 5}, nil, ""},
					{"a", protocol.Start{}, nil, "-300"},
				} {
					r := newReader(t, b)
					got := subscribe(t, r, c.name, c.start)
					if s := got.String(); c.after != "" && s != c.after && s != b.Epoch()+c.after {
						t.Errorf("%s from %+v: served after %s, want %s", c.name, c.start, s, c.after)
					}
					equal(t, fmt.Sprintf("%s from %+v", c.name, c.start), collect(t, r, len(c.want)), c.want)
					if len(c.want) == 0 {
						quiet(t, r)
					}
				}
			})
		})
	}
}

// Readers of random channels and patterns, with random starts, that read
// quickly, slowly and not at all for a while, and change their subscriptions,
// while messages come: each sees exactly its messages, in order. The tail is so
// short that they fall out of it all the time.
func TestReaderSeesEveryMessageOnceInOrder(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { readersSimulation(t, seed) })
		})
	}
}

func readersSimulation(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	b := open(t, Options{TailBytes: 300 * (1 + random.IntN(100)), CatchUps: 2})
	channels := []string{"a", "b.1", "b.2", "b.3", "c.1.x", "c.2.x"}
	names := append([]string{">", "b.*", "c.>", "*.1.x", "*", "b.>", "*.*", "*.*.x", "c.*.x", "c.1.*"}, channels...)
	if seed%2 > 0 { // most patterns have to share windows
		for _, prefix := range []string{"", "b.", "c."} {
			takeShapes(t, b, prefix)
		}
	}

	for range random.IntN(200) {
		publish(t, b, channels[random.IntN(len(channels))], "payload")
	}

	var wg sync.WaitGroup
	wg.Go(func() {
		for range 1000 {
			publish(t, b, channels[random.IntN(len(channels))], "payload")
			if random.IntN(20) == 0 {
				time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
			}
		}
	})
	readers := make([]*checkedReader, 8)
	for i := range readers {
		c := &checkedReader{t: t, b: b, r: newReader(t, b)}
		readers[i] = c
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(10+i)))
			for range 1 + random.IntN(3) {
				c.subscribe(names[random.IntN(len(names))], random)
			}
			for range 300 {
				c.take(1 + random.IntN(20))
				switch random.IntN(40) {
				case 0:
					c.subscribe(names[random.IntN(len(names))], random)
				case 1:
					c.unsubscribe(names[random.IntN(len(names))])
				case 2:
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
				default:
					time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	log, err := b.read(t.Context(), []string{">"}, 1, everything, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range readers {
		c.drain()
		c.check(log.entries)
	}
	if s := b.Stats(); s.Behind == 0 || s.CatchUpsFromLog == 0 {
		t.Errorf("nobody fell out of the tail: %+v", s)
	}
}

// checkedReader records what its reader does, and knows what it has to hand out.
type checkedReader struct {
	t      *testing.T
	b      *Broker
	r      *Reader
	events []readerEvent
}

// readerEvent is a subscription (from seq), the end of one, or an entry that was handed out.
type readerEvent struct {
	kind  string // subscribe, unsubscribe, entry
	name  string
	seq   uint64
	entry *Entry
}

func (c *checkedReader) subscribe(name string, random *rand.Rand) {
	var start protocol.Start
	switch head := c.b.Head().Seq; random.IntN(4) {
	case 0:
		start = earliest()
	case 1:
		start = after(c.b.id(uint64(random.Int64N(int64(head + 1)))))
	case 2:
		start = protocol.Start{Last: 1 + random.IntN(50)}
	}
	at := subscribe(c.t, c.r, name, start)
	seq, _ := at.In(c.b.Epoch())
	c.events = append(c.events, readerEvent{kind: "subscribe", name: name, seq: seq})
}

func (c *checkedReader) unsubscribe(name string) {
	c.r.Unsubscribe(name)
	c.events = append(c.events, readerEvent{kind: "unsubscribe", name: name})
}

func (c *checkedReader) take(n int) int {
	into := make([]*Entry, n)
	got := c.r.TryNext(into)
	for _, e := range into[:got] {
		c.events = append(c.events, readerEvent{kind: "entry", name: e.Channel, seq: e.Seq, entry: e})
	}
	return got
}

// drain takes everything that there is.
func (c *checkedReader) drain() {
	for idle := 0; idle < 3; idle++ {
		synctest.Wait()
		for c.take(100) > 0 {
			idle = 0
		}
	}
	if got, want := c.r.Watermark(), c.b.Head(); got != want {
		c.t.Errorf("with everything handed out the watermark is %v, want %v", got, want)
	}
}

// check compares what was recorded with the log.
func (c *checkedReader) check(log []*Entry) {
	subs := map[string]uint64{} // name to the last sequence that it was served
	last := uint64(0)
	missed := func(name string, from, to uint64) (seqs []uint64) {
		for seq := from + 1; seq < to; seq++ {
			if server.SubjectMatchesFilter(log[seq-1].Channel, name) {
				seqs = append(seqs, seq)
			}
		}
		return seqs
	}
	for _, event := range c.events {
		switch event.kind {
		case "subscribe":
			subs[event.name] = event.seq
			last = min(last, event.seq)
			continue
		case "unsubscribe":
			delete(subs, event.name)
			continue
		}
		if event.entry.Gap {
			c.t.Errorf("got %s in a log that misses nothing", describe(event.entry))
			continue
		}
		if event.seq <= last {
			c.t.Errorf("%d came after %d", event.seq, last)
		}
		last = event.seq
		wanted := false
		for name, served := range subs {
			if event.seq <= served || !server.SubjectMatchesFilter(event.name, name) {
				continue
			}
			wanted = true
			if m := missed(name, served, event.seq); len(m) > 0 {
				c.t.Errorf("%s: %d came after %d, and %d did not", name, event.seq, served, m)
			}
			subs[name] = event.seq
		}
		if !wanted {
			c.t.Errorf("%d on %s is a repeat, or nobody asked for it: %v", event.seq, event.name, subs)
		}
	}
	for name, served := range subs {
		if m := missed(name, served, uint64(len(log)+1)); len(m) > 0 {
			c.t.Errorf("%s: %d was the last, and %d never came", name, served, m)
		}
	}
}

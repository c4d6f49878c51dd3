package broker

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// occupyTurns takes all places that are free, until release.
func occupyTurns(t *turns) (release func()) {
	var taken []*turn
	for full := false; !full; {
		n := t.ask(Client{Key: "who occupies"}, func() {})
		if full = t.giveUp(n); !full {
			taken = append(taken, n)
		}
	}
	return func() {
		for _, n := range taken {
			t.done(n)
		}
	}
}

// order asks for turns in the name of clients, as "<key>" or "<key>/<most>", and returns the keys of those that begin, a place after the other.
type order struct {
	turns  *turns
	begun  []*turn
	keys   []string
	passed map[string]map[string]int // how often a client that waits was passed over, by whom
	unfair string
}

func newOrder(places int) *order {
	return &order{turns: newTurns(places), passed: map[string]map[string]int{}}
}

func (o *order) ask(names ...string) (asked []*turn) {
	for _, name := range names {
		who := Client{Key: name}
		if key, most, ok := strings.Cut(name, "/"); ok {
			who.Key = key
			fmt.Sscan(most, &who.Most)
		}
		var n *turn
		now := false
		n = o.turns.ask(who, func() {
			now = true
			if n != nil {
				o.began(n)
			}
		})
		if now {
			o.began(n)
		}
		asked = append(asked, n)
	}
	return asked
}

func (o *order) began(n *turn) {
	o.begun = append(o.begun, n)
	o.keys = append(o.keys, n.client.Key)
	delete(o.passed, n.client.Key)
	for e := o.turns.next.Front(); e != nil; e = e.Next() {
		c := e.Value.(*client)
		if c == n.client {
			continue
		}
		if o.passed[c.Key] == nil {
			o.passed[c.Key] = map[string]int{}
		}
		if o.passed[c.Key][n.client.Key]++; o.passed[c.Key][n.client.Key] > 1 {
			o.unfair = n.client.Key + " passed " + c.Key + " twice"
		}
	}
}

func (o *order) giveUp(n *turn) {
	if o.turns.giveUp(n) && n.client.place == nil {
		delete(o.passed, n.client.Key)
	}
}

// finish ends the oldest read.
func (o *order) finish() {
	n := o.begun[0]
	o.begun = o.begun[1:]
	o.turns.done(n)
}

func (o *order) all() string {
	for len(o.begun) > 0 {
		o.finish()
	}
	return strings.Join(o.keys, " ")
}

func TestClientsTakeTurns(t *testing.T) {
	for _, c := range []struct {
		places     int
		asks, want string
	}{
		{1, "a a a b b c", "a a b c a b"},
		{1, "a b a b a b", "a b a b a b"},
		{2, "a a a a b", "a a a b a"},
		{4, "a/2 a/2 a/2 a/2 a/2 b c", "a a b c a a a"},
		{4, "a/2 a/2 a/2 b/1 b/1 b/1", "a a b a b b"},
		{3, "a/1 a/2 a/3", "a a a"}, // the newest bound holds
		{2, "a a b/-1 b/-1", "a a b b"},
	} {
		o := newOrder(c.places)
		o.ask(strings.Fields(c.asks)...)
		if got := o.all(); got != c.want {
			t.Errorf("%d places for %q: got %q, want %q", c.places, c.asks, got, c.want)
		}
		isEmpty(t, o.turns, c.places)
	}
}

func isEmpty(t *testing.T, turns *turns, places int) {
	t.Helper()
	waiting, clients, taken := turns.counts()
	if waiting+clients+taken > 0 || turns.free != places || len(turns.clients) > 0 {
		t.Errorf("%d wait, of %d clients; %d are taken and %d free of %d; %d clients are known", waiting, clients, taken, turns.free, places, len(turns.clients))
	}
}

func TestWhatIsGivenUpFreesItsPlace(t *testing.T) {
	o := newOrder(1)
	first := o.ask("a")[0]
	a, b := o.ask("a", "a", "a"), o.ask("b")[0]
	for _, n := range []*turn{a[1], b} {
		if !o.turns.giveUp(n) {
			t.Error("it could not be given up")
		}
		if o.turns.giveUp(n) {
			t.Error("it was given up twice")
		}
	}
	if waiting, clients, taken := o.turns.counts(); waiting != 2 || clients != 1 || taken != 1 || len(o.turns.clients) != 1 {
		t.Errorf("%d wait, of %d clients, %d are taken, %d clients are known", waiting, clients, taken, len(o.turns.clients))
	}
	if o.turns.giveUp(first) {
		t.Error("what has begun was given up")
	}
	for _, want := range []*turn{first, a[0], a[2]} {
		if len(o.begun) != 1 || o.begun[0] != want {
			t.Error("they do not come in order")
		}
		o.finish()
	}
	isEmpty(t, o.turns, 1)
}

// Whatever clients ask for and give up, none has more places than its bound,
// no place is free while somebody may have it, none of who may have a place is
// passed over twice by another, and nothing stays behind.
func TestTurnsAreFairWhateverIsAsked(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		places := 1 + random.IntN(4)
		o := newOrder(places)
		var asked []*turn
		for range 300 {
			switch random.IntN(4) {
			case 0, 1:
				i := random.IntN(5)
				asked = append(asked, o.ask(fmt.Sprintf("c%d/%d", i, i%3))...)
			case 2:
				if len(o.begun) > 0 {
					o.finish()
				}
			case 3:
				if len(asked) > 0 {
					o.giveUp(asked[random.IntN(len(asked))])
				}
			}
			checkTurns(t, o.turns, o.begun)
			if o.unfair != "" {
				t.Fatal(o.unfair)
			}
		}
		o.all()
		isEmpty(t, o.turns, places)
	}
}

func checkTurns(t *testing.T, turns *turns, begun []*turn) {
	t.Helper()
	taken := map[string]int{}
	for _, n := range begun {
		taken[n.client.Key]++
	}
	for key, c := range turns.clients {
		if c.Most > 0 && taken[key] > c.Most {
			t.Fatalf("%s has %d places, may have %d", key, taken[key], c.Most)
		}
		if turns.free > 0 && c.waiting.Len() > 0 && (c.Most == 0 || taken[key] < c.Most) {
			t.Fatalf("%s waits, and a place is free", key)
		}
	}
}

// behind makes n readers of a client that have to be read for from the stored log.
func behind(t *testing.T, b *Broker, who Client, n int) (readers []*Reader) {
	for range n {
		r := newReader(t, b)
		r.SetClient(who)
		subscribe(t, r, "a", earliest())
		readers = append(readers, r)
	}
	return readers
}

func TestAClientThatIsFarBehindDelaysNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.readers)
		greedy := behind(t, b, Client{Key: "greedy"}, 200)
		into := make([]*Entry, 100)
		for _, r := range greedy {
			r.TryNext(into)
		}
		other := behind(t, b, Client{Key: "other"}, 1)[0]
		other.TryNext(into)
		if s := b.Stats(); s.Waiting != 201 || s.WaitingClients != 2 || s.Reading != 1 || s.WaitingHistory != 0 {
			t.Errorf("before: %+v", s)
		}
		before := b.Stats().CatchUpsFromLog
		reads := uint64(0)
		other.notify = func() { reads = b.Stats().CatchUpsFromLog - before }
		release()
		synctest.Wait()
		if reads == 0 || reads > 2 {
			t.Errorf("it was served after %d reads, want at most 2", reads)
		}
		if n := other.TryNext(into); n != 10 {
			t.Errorf("the other got %d", n)
		}
		for i, r := range greedy {
			if n := r.TryNext(into); n != 10 {
				t.Errorf("reader %d got %d", i, n)
			}
		}
		isEmpty(t, b.catchUps.readers, 1)
	})
}

func TestAClientHasNoMoreReadsThanItMay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 4})
		fill(t, b, 10, "a")
		synctest.Wait()
		into := make([]*Entry, 100)
		for _, most := range []int{2, 0} {
			release := occupyTurns(b.catchUps.readers)
			readers := behind(t, b, Client{Key: "one", Most: most}, 50)
			peak := 0 // guarded as the count is
			for _, r := range readers {
				r.TryNext(into)
			}
			// Each wakes its owner before its turn is done.
			for _, r := range readers {
				r.notify = func() {
					b.catchUps.readers.mu.Lock()
					defer b.catchUps.readers.mu.Unlock()
					peak = max(peak, b.catchUps.readers.clients["one"].taken)
				}
			}
			release()
			synctest.Wait()
			want := most
			if most == 0 {
				want = 4
			}
			b.catchUps.readers.mu.Lock()
			if peak != want {
				t.Errorf("most %d: %d reads at a time, want %d", most, peak, want)
			}
			b.catchUps.readers.mu.Unlock()
			for i, r := range readers {
				if n := r.TryNext(into); n != 10 {
					t.Errorf("reader %d got %d", i, n)
				}
				r.Close()
			}
		}
	})
}

func TestClosingAReaderThatWaitsFreesItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.readers)
		into := make([]*Entry, 100)
		readers := slices.Concat(behind(t, b, Client{Key: "one"}, 50), behind(t, b, Client{}, 50))
		for _, r := range readers {
			r.TryNext(into)
		}
		for i, r := range readers {
			r.Close()
			if s := b.Stats(); s.Waiting != 99-i {
				t.Fatalf("%d wait after %d were closed", s.Waiting, i+1)
			}
		}
		if n := len(b.catchUps.readers.clients); n != 1 { // who occupies
			t.Errorf("%d clients are known", n)
		}
		before := b.Stats().CatchUpsFromLog
		release()
		synctest.Wait()
		if n := b.Stats().CatchUpsFromLog - before; n > 0 {
			t.Errorf("%d reads for nobody", n)
		}
		isEmpty(t, b.catchUps.readers, 4)
	})
}

// What a reader asked for is not read if it has changed its mind, nor asked for
// again, after it could not be read, if the reader was closed.
func TestNothingIsReadThatNobodyWants(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, Logger: slog.New(slog.DiscardHandler)})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.readers)
		r := behind(t, b, Client{}, 1)[0]
		into := make([]*Entry, 100)
		r.TryNext(into)
		r.Unsubscribe("a")
		before := b.Stats().CatchUpsFromLog
		release()
		synctest.Wait()
		if n := b.Stats().CatchUpsFromLog - before; n > 0 {
			t.Errorf("%d reads for a reader that changed its mind", n)
		}

		name := b.options.Stream
		b.options.Stream = "NOT_THERE"
		subscribe(t, r, "a", earliest())
		r.TryNext(into)
		synctest.Wait()
		b.options.Stream = name
		release = occupyTurns(b.catchUps.readers)
		r.Close()
		time.Sleep(2 * retryInterval)
		if s := b.Stats(); s.Waiting != 0 || !b.catchUps.failing.Load() {
			t.Errorf("%d wait after the only one was closed; failing: %v", s.Waiting, b.catchUps.failing.Load())
		}
		release()
		isEmpty(t, b.catchUps.readers, 4)
	})
}

// A reader without a client, and each with another, has turns of its own.
func TestReadersWithoutAClientAreAClientEach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.readers)
		into := make([]*Entry, 100)
		for _, r := range slices.Concat(behind(t, b, Client{}, 3), behind(t, b, Client{Most: 1}, 3), behind(t, b, Client{Key: "one"}, 3)) {
			r.TryNext(into)
		}
		if s := b.Stats(); s.Waiting != 9 || s.WaitingClients != 7 {
			t.Errorf("%d clients for %d readers", s.WaitingClients, s.Waiting)
		}
		release()
		synctest.Wait()
		isEmpty(t, b.catchUps.readers, 4)
	})
}

// One asks for 50 pages of history, and for last messages; another for one, and does not wait for them all.
func TestHistoryTakesTurnsToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.callers)
		served := make(chan string, 51)
		for i := range 50 {
			go func() {
				if i%2 == 0 {
					_, _ = b.HistoryFor(t.Context(), Client{Key: "greedy"}, "a", protocol.Range{}, 5)
				} else {
					r := b.NewReader(nil)
					defer r.Close()
					r.SetClient(Client{Key: "greedy"})
					_, _ = r.Subscribe(t.Context(), "a", protocol.Start{Last: 5})
				}
				served <- "greedy"
			}()
		}
		synctest.Wait()
		go func() {
			p, err := b.HistoryFor(t.Context(), Client{Key: "other", Most: 1}, "a", protocol.Range{}, 5)
			if err != nil || len(p.Messages) != 5 {
				t.Errorf("got %d messages, %v", len(p.Messages), err)
			}
			served <- "other"
		}()
		synctest.Wait()
		if s := b.Stats(); s.WaitingHistory != 51 || s.Waiting != 0 || s.Reading != 1 {
			t.Errorf("before: %+v", s)
		}
		release()
		before := 0
		for <-served != "other" {
			before++
		}
		if before > 5 { // the turn after the next is its own, but who is done first may be heard of later
			t.Errorf("%d were served before it", before)
		}
		for range 50 - before {
			<-served
		}
		synctest.Wait() // until the last reader is closed, too
		isEmpty(t, b.catchUps.callers, 1)
	})
}

// Who waits for its turn goes away.
func TestHistoryThatIsGivenUpFreesItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{TailBytes: 1, CatchUps: 1})
		fill(t, b, 10, "a")
		synctest.Wait()
		release := occupyTurns(b.catchUps.callers)
		if _, err := b.History(t.Context(), "a", protocol.Range{}, 5); protocol.ErrorFrom(err).Code != protocol.Unavailable {
			t.Errorf("got %v", err)
		}
		if s := b.Stats(); s.WaitingHistory != 0 {
			t.Errorf("%d wait", s.WaitingHistory)
		}
		release()
		isEmpty(t, b.catchUps.callers, 1)
	})
}

package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// watch returns what Watch tells of, as "<key>=<value>", and what it told before it returned.
func watch(t testing.TB, r *Records) (told chan string, first []string) {
	t.Helper()
	told = make(chan string, 1000)
	err := r.Watch(t.Context(), func(key string, value []byte) { told <- key + "=" + string(value) })
	if err != nil {
		t.Fatal(err)
	}
	for len(told) > 0 {
		first = append(first, <-told)
	}
	return told, first
}

// next is what is told, n times.
func next(t testing.TB, told chan string, n int) (got []string) {
	t.Helper()
	ctx := deadline(t)
	for len(got) < n {
		select {
		case s := <-told:
			got = append(got, s)
		case <-ctx.Done():
			t.Fatalf("nothing came after %q", got)
		}
	}
	return got
}

func TestEachNodeIsToldOfTheOthersRecords(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url})
	here, there := records(t, one, "things", RecordsOptions{}), records(t, two, "things", RecordsOptions{})
	put(t, here, "a", "1", 0)
	put(t, there, "b.c", "2", 0)
	toldHere, first := watch(t, here)
	equal(t, "at first, here", first, []string{"a=1", "b.c=2"})
	toldThere, first := watch(t, there)
	equal(t, "at first, there", first, []string{"a=1", "b.c=2"})

	var want []string
	for i := range 20 {
		r := []*Records{here, there}[i%2]
		put(t, r, fmt.Sprint("k", i), fmt.Sprint(i), time.Hour)
		want = append(want, fmt.Sprintf("k%d=%d", i, i))
	}
	equal(t, "here", next(t, toldHere, 20), want)
	equal(t, "there", next(t, toldThere, 20), want)
	for i := range 15 {
		r := []*Records{there, here}[i%2]
		if got := take(t, r, fmt.Sprint("k", i)); got != fmt.Sprint(i) {
			t.Errorf("take: got %q", got)
		}
	}
	_, first = watch(t, here)
	equal(t, "what is left", first, append([]string{"a=1", "b.c=2"}, want[15:]...))

	other := records(t, one, "others", RecordsOptions{})
	if _, first := watch(t, other); len(first) > 0 || take(t, other, "a") != "" {
		t.Errorf("records of another name are seen: %q", first)
	}
}

func TestNothingIsToldAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{})
		put(t, r, "a", "1", 0)
		told, _ := watch(t, r)
		closeBroker(t, b)
		refused(t, "watch", r.Watch(t.Context(), func(string, []byte) { t.Error("told of something") }), `records "things" cannot be reached`)
		refused(t, "put", r.Put(t.Context(), "b", nil, 0), `records "things" cannot be reached`)
		_, err := r.Take(t.Context(), "a")
		refused(t, "take", err, `records "things" cannot be reached`)
		if _, err := b.Records(t.Context(), "things", RecordsOptions{}); err == nil {
			t.Error("records were opened")
		}
		if len(told) > 0 {
			t.Errorf("told of %q", <-told)
		}
	})
}

// Close is called while Watch tells of what is there, and waits for that.
func TestAWatchThatIsOvertakenByCloseEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{})
		for i := range 1000 {
			put(t, r, fmt.Sprint("k", i), "1", 0)
		}
		told, n := make(chan struct{}), 0
		watched := make(chan error)
		go func() {
			watched <- r.Watch(t.Context(), func(string, []byte) {
				if n++; n == 1 {
					close(told)
					<-b.background.Done()
					time.Sleep(time.Second)
				}
			})
		}()
		<-told
		closeBroker(t, b)
		before := n
		if err := <-watched; before == 0 || before == 1000 || !errors.Is(err, context.Canceled) {
			t.Errorf("told of %d, and then %v", before, err)
		}
		synctest.Wait()
		if n != before {
			t.Errorf("%d were told of after Close", n-before)
		}
		if b.goes(func() { t.Error("started after Close") }) {
			t.Error("something can be started after Close")
		}
	})
}

func TestAWatchThatCannotBeginFailsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := records(t, open(t, Options{}), "things", RecordsOptions{})
		r.name = "no name of a stream"
		refused(t, "watch", r.Watch(t.Context(), func(string, []byte) {}), "cannot be reached")
	})
}

// Who asks to watch gives up while it is told of what is there, and is told of nothing more.
func TestAWatchEndsWithItsContextBeforeItHasCaughtUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := records(t, open(t, Options{}), "things", RecordsOptions{})
		for i := range 1000 {
			put(t, r, fmt.Sprint("k", i), "1", 0)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := 0
		err := r.Watch(ctx, func(string, []byte) {
			n++
			time.Sleep(10 * time.Millisecond)
		})
		refused(t, "watch", err, `records "things" cannot be reached`)
		at := n
		put(t, r, "more", "", 0)
		time.Sleep(time.Minute)
		if n != at || n < 90 || n > 110 {
			t.Errorf("told of %d, and %d later", at, n-at)
		}
	})
}

// The connection breaks just when a watcher begins anew: it does not wait for an answer that cannot come.
func TestAWatchGivesUpARequestThatWasLost(t *testing.T) {
	url, js := externalNATS(t)
	s := newSwallower(t, strings.TrimPrefix(url, "nats://"))
	b := open(t, Options{URL: "nats://" + s.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
	r := records(t, b, "revoked", RecordsOptions{})
	told, _ := watch(t, r)
	stream, err := js.Stream(t.Context(), r.stream())
	if err != nil {
		t.Fatal(err)
	}
	for consumer := range stream.ConsumerNames(t.Context()).Name() {
		if err := js.DeleteConsumer(t.Context(), r.stream(), consumer); err != nil {
			t.Fatal(err)
		}
	}
	s.swallowing.Store(true)
	for swallowed := ""; !strings.Contains(swallowed, "stream_info_response"); {
		swallowed += string(<-s.swallowed)
	}
	s.swallowing.Store(false)
	s.cut()
	began := time.Now()
	put(t, records(t, open(t, Options{URL: url}), "revoked", RecordsOptions{}), "a", "1", 0)
	equal(t, "told", next(t, told, 1), []string{"a=1"})
	if took := time.Since(began); took > readTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

func TestCloseWaitsForWhoIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{})
		told, finished := make(chan struct{}), false
		err := r.Watch(t.Context(), func(string, []byte) {
			close(told)
			<-b.background.Done()
			time.Sleep(time.Second)
			finished = true
		})
		if err != nil {
			t.Fatal(err)
		}
		put(t, r, "a", "1", 0)
		<-told
		closeBroker(t, b)
		if !finished {
			t.Error("Close did not wait")
		}
	})
}

// stoppableNATS is externalNATS, with what stops it and what starts it again on the same port.
func stoppableNATS(t *testing.T) (url string, stop, start func()) {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	var s *server.Server
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	start = func() {
		var err error
		if s, err = server.NewServer(o); err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(time.Minute) {
			t.Fatal("the NATS server did not start")
		}
		o.Port = s.Addr().(*net.TCPAddr).Port
	}
	start()
	t.Cleanup(func() { stop() })
	return s.ClientURL(), stop, start
}

func TestARestartOfNATSUnderAWatchLosesNothing(t *testing.T) {
	url, stop, start := stoppableNATS(t)
	quiet := slog.New(slog.DiscardHandler)
	watching, putting := open(t, Options{URL: url, Logger: quiet}), open(t, Options{URL: url, Logger: quiet})
	told, _ := watch(t, records(t, watching, "revoked", RecordsOptions{}))
	r := records(t, putting, "revoked", RecordsOptions{})
	var want []string
	for i := range 15 {
		if i%5 == 4 {
			reconnected(t, putting, func() {
				down := putting.publishing.StatusChanged(nats.RECONNECTING)
				stop()
				<-down
				refused(t, "put", r.Put(t.Context(), "lost", nil, 0), `records "revoked" cannot be reached`)
				start()
			})
		}
		put(t, r, fmt.Sprint("k", i), fmt.Sprint(i), 0)
		want = append(want, fmt.Sprintf("k%d=%d", i, i))
	}
	equal(t, "told", next(t, told, 15), want)
	if len(told) > 0 {
		t.Errorf("told again: %q", <-told)
	}
}

// The connection is cut over and over while records come: what was on its way
// is told of all the same, once, and in order.
func TestALostConnectionUnderAWatchLosesNothing(t *testing.T) {
	url, _ := externalNATS(t)
	quiet := slog.New(slog.DiscardHandler)
	watching, putting := open(t, Options{URL: url, Logger: quiet}), open(t, Options{URL: url, Logger: quiet})
	told, _ := watch(t, records(t, watching, "revoked", RecordsOptions{}))
	r := records(t, putting, "revoked", RecordsOptions{})
	var want []string
	for i := range 60 {
		if i%20 == 10 {
			if err := watching.following.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}
		put(t, r, fmt.Sprint("k", i), fmt.Sprint(i), 0)
		want = append(want, fmt.Sprintf("k%d=%d", i, i))
	}
	equal(t, "told", next(t, told, len(want)), want)
	if len(told) > 0 {
		t.Errorf("told again: %q", <-told)
	}
}

func TestAWatchFindsTheBucketThatWasMadeAnew(t *testing.T) {
	url, js := externalNATS(t)
	b := open(t, Options{URL: url, Logger: slog.New(slog.DiscardHandler)})
	r := records(t, b, "revoked", RecordsOptions{})
	told, _ := watch(t, r)
	for i := range 10 {
		put(t, r, fmt.Sprint("old", i), "", 0)
	}
	next(t, told, 10)
	if err := js.DeleteStream(t.Context(), r.stream()); err != nil {
		t.Fatal(err)
	}
	put(t, r, "new", "1", 0)
	equal(t, "told", next(t, told, 1), []string{"new=1"})
	if got := take(t, r, "old1"); got != "" {
		t.Errorf("got %q", got)
	}
	if err := js.DeleteStream(t.Context(), r.stream()); err != nil {
		t.Fatal(err)
	}
	if _, first := watch(t, r); len(first) > 0 {
		t.Errorf("told of %q in a new bucket", first)
	}
}

func TestAWatcherKnowsTheBucketInWhichItStands(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{})
		for i := range 5 {
			put(t, r, fmt.Sprint("k", i), "", 0)
		}
		stream, err := b.publisher.Stream(t.Context(), r.stream())
		if err != nil {
			t.Fatal(err)
		}
		created := stream.CachedInfo().Created
		for what, c := range map[string]struct {
			created     time.Time
			after, want uint64
		}{
			"the same":                {created, 5, 5},
			"another":                 {created.Add(time.Second), 3, 0},
			"one that is rolled back": {created, 6, 0},
		} {
			w := &watcher{r: r, js: b.publisher, created: c.created, after: c.after}
			if err := w.findPlace(t.Context()); err != nil || w.after != c.want || !w.created.Equal(created) {
				t.Errorf("%s: %v, after %d, want %d", what, err, w.after, c.want)
			}
		}
	})
}

// What was taken, or has expired, before a watcher comes to it.
func TestAWatchDoesNotWaitForWhatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{Memory: true})
		for i := range 2000 { // more than are asked for at a time
			put(t, r, fmt.Sprint("k", i), "", 2*time.Second)
		}
		n := 0
		err := r.Watch(t.Context(), func(key string, _ []byte) {
			if n++; n == 1 {
				time.Sleep(5 * time.Second)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || n == 2000 {
			t.Errorf("told of %d", n)
		}
		synctest.Wait()
	})
}

// swallower passes connections on to NATS, and what comes back from there until it is told to swallow that.
type swallower struct {
	net.Listener
	swallowing atomic.Bool
	swallowed  chan []byte

	mu    sync.Mutex
	conns []net.Conn
}

func newSwallower(t *testing.T, to string) *swallower {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &swallower{Listener: l, swallowed: make(chan []byte, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			nats, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			s.mu.Lock()
			s.conns = append(s.conns, from, nats)
			s.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(nats, from); nats.Close() })
			wg.Go(func() { s.back(nats, from); from.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.cut()
		wg.Wait()
	})
	return s
}

func (s *swallower) back(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if s.swallowing.Load() {
			s.swallowed <- bytes.Clone(buffer[:n])
		} else if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (s *swallower) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// A record is on its way when the connection breaks. JetStream's consumer, which
// outlives the connection, has sent it, and would not again. And if only the
// record is lost, that is seen at the next one.
func TestWhatWasLostOnItsWayIsTold(t *testing.T) {
	for _, cut := range []bool{true, false} {
		url, _ := externalNATS(t)
		s := newSwallower(t, strings.TrimPrefix(url, "nats://"))
		watching := open(t, Options{URL: "nats://" + s.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
		r := records(t, open(t, Options{URL: url}), "revoked", RecordsOptions{})
		told, _ := watch(t, records(t, watching, "revoked", RecordsOptions{}))
		put(t, r, "a", "1", 0)
		equal(t, "before", next(t, told, 1), []string{"a=1"})

		s.swallowing.Store(true)
		put(t, r, "b", "on its way", 0)
		for swallowed := ""; !strings.Contains(swallowed, "on its way"); {
			swallowed += string(<-s.swallowed)
		}
		s.swallowing.Store(false)
		if cut {
			s.cut()
			equal(t, "after", next(t, told, 1), []string{"b=on its way"})
		} else {
			put(t, r, "c", "3", 0)
			equal(t, "after", next(t, told, 2), []string{"b=on its way", "c=3"})
		}
	}
}

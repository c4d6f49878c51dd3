package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// externalNATS runs a NATS server that somebody else would run. Not for use in a bubble.
func externalNATS(t *testing.T) (url string, js jetstream.JetStream) {
	t.Helper()
	return externalNATSFor(t, server.MAX_PAYLOAD_SIZE)
}

// externalNATSFor is one that takes messages of that size.
func externalNATSFor(t *testing.T, maxPayload int32) (url string, js jetstream.JetStream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), js
}

func TestNodesOnOneNATSAreOneLog(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url, TailBytes: 1})
	if one.Epoch() != two.Epoch() || one.Node() == two.Node() {
		t.Errorf("epochs %s and %s, nodes %s and %s", one.Epoch(), two.Epoch(), one.Node(), two.Node())
	}
	here, there := newReader(t, one), newReader(t, two)
	subscribe(t, here, "a", earliest())
	subscribe(t, there, ">", earliest())
	var want []string
	for i := range 20 {
		b := []*Broker{one, two}[i%2]
		want = append(want, fmt.Sprint(publish(t, b, "a", i)))
	}
	equal(t, "here", collect(t, here, 20), want)
	equal(t, "there", collect(t, there, 20), want)

	r, err := one.Publish(t.Context(), Publication{Channel: "a", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := two.Publish(t.Context(), Publication{Channel: "a", Key: "k"})
	if err != nil || again.ID != r.ID || !again.Duplicate {
		t.Errorf("the same key on the other node: got %+v, %v", again, err)
	}
	// A cursor is good on any node, at once, though it may not have followed so far.
	late := newReader(t, two)
	subscribe(t, late, "a", after(publishMany(t, one, 50)))
	last := publish(t, one, "a", "last")
	equal(t, "after another node's cursor", collect(t, late, 1), []string{fmt.Sprint(last)})
}

func publishMany(t *testing.T, b *Broker, n int) protocol.ID {
	t.Helper()
	for range n - 1 {
		publish(t, b, "a", "x")
	}
	return b.id(publish(t, b, "a", "x"))
}

func TestNodesAskEachOtherAcrossNATS(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url})
	for _, b := range []*Broker{one, two} {
		if err := b.Relay(func(_ context.Context, request []byte) []byte { return append([]byte(b.Node()+" "), request...) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []*Broker{one, two} {
		if answer, err := one.Ask(t.Context(), to.Node(), []byte("x")); err != nil || string(answer) != to.Node()+" x" {
			t.Errorf("got %q, %v", answer, err)
		}
	}
	gone := two.Node()
	closeBroker(t, two)
	if _, err := one.Ask(t.Context(), gone, []byte("x")); protocol.ErrorFrom(err).Code != protocol.Gone {
		t.Errorf("a node that has closed: got %v, want gone", err)
	}
}

func TestClosingWaitsForWhatIsBeingAnswered(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url})
	asked, finished := make(chan struct{}), false
	err := two.Relay(func(ctx context.Context, _ []byte) []byte {
		close(asked)
		<-ctx.Done()
		finished = true
		return []byte("late")
	})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan string)
	go func() {
		answer, _ := one.Ask(t.Context(), two.Node(), nil)
		answered <- string(answer)
	}()
	<-asked
	closeBroker(t, two)
	if !finished {
		t.Error("Close did not wait")
	}
	if a := <-answered; a != "late" {
		t.Errorf("got %q", a)
	}
}

func TestAStreamThatCannotBeServedIsRefused(t *testing.T) {
	url, js := externalNATS(t)
	for name, c := range map[string]struct {
		config jetstream.StreamConfig
		want   string
	}{
		"PERSUBJECT": {jetstream.StreamConfig{MaxMsgsPerSubject: 5, AllowAtomicPublish: true}, "no maximum per subject"},
		"DISCARDNEW": {jetstream.StreamConfig{Discard: jetstream.DiscardNew, AllowAtomicPublish: true}, "discard old"},
		"MSGTTL":     {jetstream.StreamConfig{AllowMsgTTL: true, AllowAtomicPublish: true}, "no TTL per message"},
		"NOBATCHES":  {jetstream.StreamConfig{}, "--allow-batch"},
		"SUBJECTS":   {jetstream.StreamConfig{Subjects: []string{"SUBJECTS.other"}, AllowAtomicPublish: true}, "another stream's name or prefix"},
	} {
		if c.config.Subjects == nil {
			c.config.Subjects = []string{name + ".>"}
		}
		c.config.Name = name
		if _, err := js.CreateStream(t.Context(), c.config); err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), Options{URL: url, Stream: name, Prefix: name, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			closeBroker(t, b)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something about %q", name, err, c.want)
		}
	}
}

func TestOtherSubjectsOfAnOperatorsStreamAreNoChannels(t *testing.T) {
	url, js := externalNATS(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SHARED", Subjects: []string{"ch.>", "private.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, Options{URL: url, Stream: "SHARED"})
	r := newReader(t, b)
	subscribe(t, r, ">", protocol.Start{})
	if n := r.TryNext(make([]*Entry, 1)); n != 0 {
		t.Fatal("there is something already")
	}
	if _, err := js.Publish(t.Context(), "private.x", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a", 1)
	equal(t, "channels", collect(t, r, 1), []string{"2"})
}

// Somebody deletes the stream under a running node: it must not give out ids
// of the new one as those of the old one.
func TestANodeWhoseStreamWasReplacedServesNothing(t *testing.T) {
	url, js := externalNATS(t)
	b := open(t, Options{URL: url, Logger: slog.New(slog.DiscardHandler)})
	old := publishMany(t, b, 5)
	if err := js.DeleteStream(t.Context(), "FAIRLEAD"); err != nil {
		t.Fatal(err)
	}
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FAIRLEAD", Subjects: []string{"ch.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.follower.look(t.Context()); err == nil { // it does every trimInterval
		t.Error("the node did not see it")
	}
	servesNothing(t, b)

	again := open(t, Options{URL: url})
	if again.Epoch() == old.Epoch {
		t.Error("the epoch is the same")
	}
	publish(t, again, "a", "new")
	r := newReader(t, again)
	subscribe(t, r, "a", after(old))
	equal(t, "with the old cursor", collect(t, r, 2), []string{gap("replaced", "a", 5, 0), "1"})
}

// servesNothing checks that a node refuses everything, and takes nothing more from its stream.
func servesNothing(t *testing.T, b *Broker) {
	t.Helper()
	r := newReader(t, b)
	for what, do := range map[string]func() error{
		"publish": func() error { _, err := b.Publish(t.Context(), Publication{Channel: "a"}); return err },
		"a batch": func() error {
			_, err := b.PublishBatch(t.Context(), []Publication{{Channel: "a"}, {Channel: "a"}})
			return err
		},
		"purge":        func() error { _, err := b.Purge(t.Context(), "a"); return err },
		"subscribe":    func() error { _, err := r.Subscribe(t.Context(), "a", protocol.Start{}); return err },
		"history":      func() error { _, err := b.History(t.Context(), "a", protocol.Range{}, 1); return err },
		"last history": func() error { _, err := b.History(t.Context(), "a", protocol.Range{Last: 1}, 1); return err },
		"ready":        b.Ready,
	} {
		if err := do(); err == nil || protocol.ErrorFrom(err).Code != protocol.Unavailable {
			t.Errorf("%s: got %v, want unavailable", what, err)
		}
	}
}

// rolledBack runs a node whose NATS is stopped after ten messages and comes
// back with the first five, as from a backup.
func rolledBack(t *testing.T, logger *slog.Logger) *Broker {
	t.Helper()
	dir, backup := t.TempDir(), t.TempDir()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}
	var s *server.Server
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	start := func() {
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
	first, err := Open(t.Context(), Options{URL: s.ClientURL(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	publishMany(t, first, 5)
	closeBroker(t, first)
	stop()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	start()
	b := open(t, Options{URL: s.ClientURL(), Logger: logger})
	r := newReader(t, b)
	subscribe(t, r, "a", protocol.Start{})
	publishMany(t, b, 5)
	equal(t, "before", collect(t, r, 5), sequence(6, 10, 1))
	stop()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	start()
	return b
}

func TestANodeWhoseStreamWasRolledBackServesNothing(t *testing.T) {
	var log strings.Builder
	b := rolledBack(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})))
	ctx := deadline(t)
	for !b.reading.IsConnected() || !b.publishing.IsConnected() || !b.following.IsConnected() {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			t.Fatal("the node does not find its NATS again")
		}
	}
	if err := b.follower.look(ctx); err == nil || protocol.ErrorFrom(err).Code != protocol.Unavailable { // it does every trimInterval
		t.Errorf("the node did not see it: %v", err)
	}
	servesNothing(t, b)
	if !strings.Contains(log.String(), "rolled back under this node: restart the node") {
		t.Errorf("it was not said: %q", log.String())
	}
}

// What comes after that is of another log, though its sequences go on.
func TestAStaleNodeAppendsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{Logger: slog.New(slog.DiscardHandler)})
		fill(t, b, 3, "a")
		synctest.Wait()
		if _, err := b.publisher.Publish(t.Context(), "ch.a", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Head().Seq != 4 {
			t.Fatalf("the head is %v, want 4", b.Head())
		}
		_ = b.goStale("test")
		if _, err := b.publisher.Publish(t.Context(), "ch.a", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Head().Seq != 4 {
			t.Errorf("the head is %v, want 4", b.Head())
		}
	})
}

func TestTheTailTakesNothingFromBeforeItsHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		synctest.Wait()
		b.tail.skip(10)
		fill(t, b, 3, "a") // 4, 5, 6
		synctest.Wait()
		if s := b.Stats(); s.Head != 10 || s.TailMessages != 3 {
			t.Errorf("the head is %d with %d messages, want 10 with 3", s.Head, s.TailMessages)
		}
	})
}

// After an election the leader may know less than was followed, for a moment.
func TestALeaderThatLagsBehindIsNoRollback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		fill(t, b, 3, "a")
		synctest.Wait()
		b.tail.skip(4)
		looked := make(chan error)
		go func() { looked <- b.follower.look(t.Context()) }()
		synctest.Wait()
		fill(t, b, 1, "a")
		if err := <-looked; err != nil || b.Ready() != nil {
			t.Errorf("got %v, ready %v", err, b.Ready())
		}
	})
}

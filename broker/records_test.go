package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

func records(t testing.TB, b *Broker, name string, o RecordsOptions) *Records {
	t.Helper()
	r, err := b.Records(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func put(t testing.TB, r *Records, key, value string, ttl time.Duration) {
	t.Helper()
	if err := r.Put(t.Context(), key, []byte(value), ttl); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// take is the value, or "" for nil.
func take(t testing.TB, r *Records, key string) string {
	t.Helper()
	value, err := r.Take(t.Context(), key)
	if err != nil {
		t.Fatalf("take %s: %v", key, err)
	}
	return string(value)
}

func refused(t testing.TB, what string, err error, word string) {
	t.Helper()
	if err == nil || protocol.ErrorFrom(err).Code != protocol.Unavailable || !strings.Contains(err.Error(), word) || protocol.ErrorFrom(err).RetryAfter == 0 {
		t.Errorf("%s: got %v, want unavailable with a time to retry, and something about %q", what, err, word)
	}
}

func TestOfAllWhoTakeARecordOneGetsIt(t *testing.T) {
	url, _ := externalNATS(t)
	var nodes []*Records
	for range 2 {
		nodes = append(nodes, records(t, open(t, Options{URL: url}), "tickets", RecordsOptions{TTL: 30 * time.Second, Memory: true}))
	}
	for i := range 20 {
		key := fmt.Sprint("ticket-", i)
		put(t, nodes[i%2], key, "grant", 30*time.Second)
		var wg sync.WaitGroup
		got := make(chan string, 16)
		for j := range cap(got) {
			wg.Go(func() {
				value, err := nodes[j%2].Take(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				if value != nil {
					got <- string(value)
				}
			})
		}
		wg.Wait()
		if len(got) != 1 || <-got != "grant" {
			t.Fatalf("%d of %d got it", len(got), cap(got))
		}
	}
}

func TestARecordIsForgottenInTime(t *testing.T) {
	for _, memory := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			r := records(t, open(t, Options{}), "things", RecordsOptions{Memory: memory})
			put(t, r, "early", "1", 29500*time.Millisecond)
			put(t, r, "late", "2", 29500*time.Millisecond)
			put(t, r, "never", "3", 0)
			time.Sleep(29900 * time.Millisecond)
			if got := take(t, r, "early"); got != "1" {
				t.Errorf("in time: got %q", got)
			}
			time.Sleep(3 * time.Second)
			if got := take(t, r, "late"); got != "" {
				t.Errorf("too late: got %q", got)
			}
			put(t, r, "late", "4", 0)
			if _, first := watch(t, r); fmt.Sprint(first) != "[never=3 late=4]" {
				t.Errorf("what is left: %q", first)
			}
		})
	}
}

func TestRecordsAreForgottenByTheTTLOfAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "tickets", RecordsOptions{Memory: true, TTL: 30 * time.Second})
		put(t, r, "early", "1", 0)
		put(t, r, "late", "2", 0)
		time.Sleep(29 * time.Second)
		if got := take(t, r, "early"); got != "1" {
			t.Errorf("in time: got %q", got)
		}
		time.Sleep(3 * time.Second)
		if got := take(t, r, "late"); got != "" {
			t.Errorf("too late: got %q", got)
		}
		time.Sleep(time.Minute)
		stream, err := b.publisher.Stream(t.Context(), r.stream())
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n != 0 {
			t.Errorf("%d marks of what was taken are left", n)
		}
	})
}

func TestNoMarkOfATakenRecordIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		r := records(t, b, "things", RecordsOptions{})
		for i := range 10 {
			key := fmt.Sprint("k", i)
			put(t, r, key, "x", 0)
			take(t, r, key)
		}
		time.Sleep(5 * time.Second)
		stream, err := b.publisher.Stream(t.Context(), r.stream())
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestAKeyThatIsThereIsNotPutAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := records(t, open(t, Options{}), "things", RecordsOptions{})
		put(t, r, "a", "1", 0)
		if err := r.Put(t.Context(), "a", []byte("2"), 0); !errors.Is(err, ErrRecordExists) {
			t.Errorf("got %v", err)
		}
		if got := take(t, r, "a"); got != "1" {
			t.Errorf("got %q", got)
		}
		put(t, r, "a", "3", 0)
		if got := take(t, r, "a"); got != "3" {
			t.Errorf("got %q", got)
		}
		for _, key := range []string{"", "*", ">", "a b", ".a"} {
			if err := r.Put(t.Context(), key, nil, 0); err == nil {
				t.Errorf("the key %q is taken", key)
			}
			if got := take(t, r, key); got != "" {
				t.Errorf("%q gives %q", key, got)
			}
		}
	})
}

func TestRecordsAreBoundedInBytes(t *testing.T) {
	for _, memory := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			const most, size = 100_000, 1000
			r := records(t, open(t, Options{}), "tickets", RecordsOptions{MaxBytes: most, Memory: memory})
			value := string(bytes.Repeat([]byte("x"), size))
			n := 0
			var err error
			for ; n < 1000 && err == nil; n++ {
				err = r.Put(t.Context(), fmt.Sprint("k", n), []byte(value), 0)
			}
			refused(t, "one more", err, `no room for more records in "tickets"`)
			if n < most/size*8/10 || n > most/size {
				t.Errorf("%d fit", n)
			}
			if got := take(t, r, "k0"); got != value {
				t.Error("the first was forgotten")
			}
			time.Sleep(5 * time.Second)
			put(t, r, "another", value, 0)
		})
	}
}

func TestRecordsSurviveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		b := open(t, Options{Dir: dir})
		r := records(t, b, "revoked", RecordsOptions{})
		put(t, r, "a", "1", 0)
		put(t, r, "b", "2", 0)
		take(t, r, "a")
		closeBroker(t, b)
		r = records(t, open(t, Options{Dir: dir}), "revoked", RecordsOptions{MaxBytes: 1 << 20}) // another bound than before
		told, first := watch(t, r)
		equal(t, "at first", first, []string{"b=2"})
		if status, err := r.kv.Status(t.Context()); err != nil || status.Config().MaxBytes != 1<<20 {
			t.Errorf("the bound is not the new one: %+v, %v", status, err)
		}
		put(t, r, "c", "3", 0)
		equal(t, "then", next(t, told, 1), []string{"c=3"})
	})
}

// Not in a bubble, as TestTheServerIsRestartedInPlaceAndReadersGoOn.
func TestRecordsInMemoryGoOnAfterARestartInPlace(t *testing.T) {
	var log strings.Builder
	b := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r := records(t, b, "tickets", RecordsOptions{Memory: true})
	told, _ := watch(t, r)
	put(t, r, "a", "1", 0)
	equal(t, "before", next(t, told, 1), []string{"a=1"})
	for range 2 {
		reconnected(t, b, func() {
			if err := b.server.restart(); err != nil {
				t.Fatal(err)
			}
		})
		if got := take(t, r, "a"); got != "" {
			t.Errorf("got %q", got)
		}
		put(t, r, "a", "2", 0)
		equal(t, "after", next(t, told, 1), []string{"a=2"})
	}
	closeBroker(t, b)
	for _, s := range []string{"watching records was interrupted", "watching records goes on"} {
		if n := strings.Count(log.String(), s); n != 2 {
			t.Errorf("%q was said %d times, want 2", s, n)
		}
	}
}

// reconnected calls restart, which ends the broker's connections, and waits until they are up again.
func reconnected(t testing.TB, b *Broker, restart func()) {
	t.Helper()
	connections := []*nats.Conn{b.publishing, b.following, b.reading}
	var up []chan nats.Status
	for _, nc := range connections {
		up = append(up, nc.StatusChanged(nats.CONNECTED))
	}
	restart()
	for i, nc := range connections {
		select {
		case <-up[i]:
		case <-deadline(t).Done():
			t.Fatal("the node does not find its NATS again")
		}
		nc.RemoveStatusListener(up[i])
	}
}

func TestRecordsOnDiskLeaveItRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		free := int64(100 << 20)
		b := open(t, Options{DiskReserve: 10 << 20, Logger: slog.New(slog.DiscardHandler), free: func(string) (int64, error) { return free, nil }})
		disk, memory := records(t, b, "revoked", RecordsOptions{}), records(t, b, "tickets", RecordsOptions{Memory: true})
		free = 5 << 20
		b.disk.look()
		refused(t, "put", disk.Put(t.Context(), "a", nil, 0), "disk is full")
		put(t, memory, "a", "", 0)
		free = 100 << 20
		b.disk.look()
		put(t, disk, "a", "", 0)
	})
}

// Nodes start at once, some of them with other options than the others.
func TestRecordsAreOpenedByManyNodesAtOnce(t *testing.T) {
	url, _ := externalNATS(t)
	one, two := open(t, Options{URL: url}), open(t, Options{URL: url})
	for i := range 10 {
		var wg sync.WaitGroup
		for j := range 8 {
			wg.Go(func() {
				if _, err := []*Broker{one, two}[j%2].Records(t.Context(), fmt.Sprint("r", i), RecordsOptions{MaxBytes: 1000 + int64(j%4)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestABucketThatCannotForgetIsRefused(t *testing.T) {
	url, js := externalNATS(t)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "FAIRLEAD_tickets"}); err != nil {
		t.Fatal(err)
	}
	b := open(t, Options{URL: url})
	if _, err := b.Records(t.Context(), "tickets", RecordsOptions{}); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("got %v", err)
	}
	// One that an operator made with nats kv add --marker-ttl is good.
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "FAIRLEAD_revoked", LimitMarkerTTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	r := records(t, b, "revoked", RecordsOptions{})
	put(t, r, "a", "1", time.Hour)
	if got := take(t, r, "a"); got != "1" {
		t.Errorf("got %q", got)
	}
}

// What the error tells an operator to allow is enough, and nothing of it is too much to need.
func TestAnOperatorIsToldWhatRecordsNeed(t *testing.T) {
	log := []string{"_INBOX.>", "ch.>", "$JS.API.STREAM.*.FAIRLEAD", "$JS.API.CONSUMER.*.FAIRLEAD.>", "$JS.API.CONSUMER.MSG.NEXT.FAIRLEAD.>"}
	for allowed := 0; allowed <= 5; allowed++ {
		r := &Records{b: &Broker{options: Options{Stream: "FAIRLEAD"}}, name: "tickets"}
		patience := 500 * time.Millisecond // what is not allowed is not answered
		if allowed == 5 {
			patience = time.Minute
		}
		url := natsThatAllows(t, append(log, r.subjects()[:allowed]...)...)
		b := open(t, Options{URL: url, PublishTimeout: patience, Logger: slog.New(slog.DiscardHandler)})
		err := useRecords(t, b, patience)
		switch {
		case allowed == 5 && err != nil:
			t.Errorf("with all that it takes: %v", err)
		case allowed < 5 && err == nil:
			t.Errorf("the first %d of %q are enough", allowed, r.subjects())
		case allowed == 0 && !strings.Contains(err.Error(), strings.Join(r.subjects(), ", ")):
			t.Errorf("got %v, want it to tell of %q", err, r.subjects())
		}
	}
}

func useRecords(t *testing.T, b *Broker, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := b.Records(ctx, "tickets", RecordsOptions{})
	if err != nil {
		return err
	}
	told := make(chan struct{}, 1)
	if err := r.Watch(ctx, func(string, []byte) { told <- struct{}{} }); err != nil {
		return err
	}
	if err := r.Put(ctx, "a", []byte("1"), time.Second); err != nil {
		return err
	}
	select {
	case <-told:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = r.Take(ctx, "a")
	return err
}

// natsThatAllows runs a NATS server whose user may publish to those subjects only.
func natsThatAllows(t *testing.T, subjects ...string) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: subjects}}}},
	})
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
	return "nats://u:p@" + s.Addr().String()
}

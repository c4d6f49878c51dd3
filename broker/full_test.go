//go:build linux

package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/protocol"
)

// smallDisk mounts a disk of 32 MiB, or returns "" where that is not allowed:
// with FULL_TESTS set, that fails the test.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("fairlead-test", dir, "tmpfs", 0, "size=32m"); err != nil {
		if os.Getenv("FULL_TESTS") != "" {
			t.Fatalf("mount a small disk: %v: run this as root", err)
		}
		t.Logf("not run, because no disk can be mounted here: %v", err)
		return ""
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// occupy writes a file that leaves that many bytes of the disk, or fewer, and returns its name.
func occupy(t *testing.T, dir string, leave int64) string {
	t.Helper()
	name := filepath.Join(dir, "other")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		free, err := freeBytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		if free <= leave {
			return name
		}
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return name
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublishingStopsBeforeARealDiskIsFull(t *testing.T) {
	dir := smallDisk(t)
	if dir == "" {
		return
	}
	b := open(t, Options{Dir: filepath.Join(dir, "data"), MaxBytes: 16 << 20, DiskReserve: 8 << 20, TailBytes: 1})
	fill(t, b, 10, "a")

	other := occupy(t, dir, 7<<20)
	b.disk.look() // it would within diskInterval
	_, err := b.Publish(t.Context(), Publication{Channel: "a"})
	if e := protocol.ErrorFrom(err); e.Code != protocol.Unavailable || e.RetryAfter == 0 {
		t.Errorf("with a full disk: got %v, want unavailable with a time to retry", err)
	}
	if b.Ready() == nil || b.Stats().DiskRefusals != 1 {
		t.Errorf("ready: %v, refusals: %d", b.Ready(), b.Stats().DiskRefusals)
	}
	r := newReader(t, b)
	subscribe(t, r, "a", earliest())
	equal(t, "reads go on", collect(t, r, 10), sequence(1, 10, 1))
	if _, err := b.Purge(t.Context(), "a"); err != nil {
		t.Errorf("a purge, which makes room: %v", err)
	}

	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	b.disk.look()
	publish(t, b, "a", "with room again")
	equal(t, "and then", collect(t, r, 2), []string{gap("purged", "a", 0, 11), "12"})
}

// The disk runs full under JetStream, which does not survive that: the server
// is restarted in place when there is room.
func TestALogOnADiskThatWasFullGoesOnWhenThereIsRoom(t *testing.T) {
	dir := smallDisk(t)
	if dir == "" {
		return
	}
	b := open(t, Options{Dir: filepath.Join(dir, "data"), MaxBytes: 24 << 20, DiskReserve: 1, PublishTimeout: time.Second})
	r := newReader(t, b)
	subscribe(t, r, "a", earliest())
	fill(t, b, 10, "a")

	other := occupy(t, dir, 256<<10)
	acknowledged := publishUntilItFails(t, b)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	publishWhenPossible(t, b, "last")

	got := map[string]bool{}
	into := make([]*Entry, 64)
	for !got["last"] {
		n, err := r.Next(deadline(t), into)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range into[:n] {
			if e.Gap {
				t.Errorf("got %s", describe(e))
			}
			got[fieldsOf(t, e).Key] = true
		}
	}
	for _, key := range acknowledged {
		if !got[key] {
			t.Errorf("%s was acknowledged and never came", key)
		}
	}
	if err := b.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// publishUntilItFails returns the keys of what was acknowledged.
func publishUntilItFails(t *testing.T, b *Broker) (acknowledged []string) {
	t.Helper()
	for i := range 1000 {
		p := Publication{Channel: "a", Key: fmt.Sprint("key-", i), Payload: make([]byte, 16<<10)}
		_, err := b.Publish(t.Context(), p)
		if errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err != nil {
			return acknowledged
		}
		acknowledged = append(acknowledged, p.Key)
	}
	t.Fatal("16 MiB were stored on a full disk")
	return nil
}

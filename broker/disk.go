package broker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// diskInterval is how often the room on the disk is looked at without any publishing.
const diskInterval = time.Second

// disk guards the room that is left where the log is. JetStream does not
// survive a full disk: publishes then time out without an error, for ever. So
// publishing stops before that, and goes on by itself when there is room. A
// nil disk admits everything.
type disk struct {
	reserve int64
	free    func() (int64, error)
	log     *slog.Logger

	room    atomic.Int64 // bytes that may be published before looking again
	full    atomic.Bool
	refused atomic.Uint64
}

func newDisk(o Options) *disk {
	d := &disk{reserve: o.DiskReserve, log: o.Logger, free: func() (int64, error) { return o.free(o.Dir) }}
	d.look()
	return d
}

// admit reports why n bytes may not be published now, or nil.
func (d *disk) admit(n int) error {
	if d == nil {
		return nil
	}
	if d.room.Add(-int64(n)) < 0 {
		d.look()
	}
	if !d.full.Load() {
		return nil
	}
	if n > 0 {
		d.refused.Add(1)
	}
	e := protocol.Errorf(protocol.Unavailable, "the log's disk is full: retry, with the same key, when its operator has made room")
	e.RetryAfter = 5 * time.Second
	return e
}

// look finds out how much room there is. It may be called from several goroutines.
func (d *disk) look() {
	free, err := d.free()
	if err != nil {
		d.log.Error("cannot look at the disk", "error", err)
		return
	}
	// Half of the reserve is for what is on its way when it is reached.
	d.room.Store(max(free-d.reserve, d.reserve/2))
	full := free < d.reserve
	if d.full.Swap(full) != full {
		if full {
			d.log.Error("disk full: publishing stops until there is room; free some, or lower stream.max_bytes", "free_bytes", free, "reserve_bytes", d.reserve)
		} else {
			d.log.Info("the disk has room again: publishing goes on", "free_bytes", free)
		}
	}
}

// watch looks at the disk until ctx ends, and restarts the server in place if
// the disk ran full all the same and now has room.
func (d *disk) watch(ctx context.Context, s *embedded) {
	ticker := time.NewTicker(diskInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		d.look()
		if d.full.Load() {
			continue
		}
		if err := s.unhealthy(); err != nil {
			d.log.Warn("the log cannot store: restarting it in place", "error", err)
			if err := s.restart(); err != nil {
				d.log.Error("the log cannot be restarted", "error", err)
			}
		}
	}
}

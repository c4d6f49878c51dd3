package admission

import (
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// PressedStall is how long a client may take nothing while more waits to be
// written than may. It comes back with its cursor, and has lost nothing.
const PressedStall = 5 * time.Second

// pending is what waits to be written.
type pending struct {
	bytes    atomic.Int64
	relieved atomic.Int64 // when relieve was called last, in nanoseconds of the Unix epoch
	relieve  func()
}

// Hold counts bytes that wait to be written. The caller lets go of them, and
// holds no lock: if it is too much, clients are cut off.
func (d *Door) Hold(bytes int) {
	d.pending.bytes.Add(int64(bytes))
	if d.Pressed() {
		d.pending.relieveSometimes()
	}
}

// LetGo counts that they do not wait any longer.
func (d *Door) LetGo(bytes int) { d.pending.bytes.Add(-int64(bytes)) }

// Pressed tells whether more waits to be written than may.
func (d *Door) Pressed() bool {
	most := d.Limits().Pending
	return most >= 0 && d.pending.bytes.Load() > int64(most)
}

// Stall is how long a client may take nothing of what is written now.
func (d *Door) Stall() time.Duration {
	if d.Pressed() {
		return min(d.Limits().WriteStall, PressedStall)
	}
	return d.Limits().WriteStall
}

// Room reports that nothing may be taken that there would have to be written
// more for, or nil. As for Hold, the caller holds no lock.
func (d *Door) Room() error {
	if d.Pressed() {
		d.pending.relieveSometimes()
		return d.refuse("pending", protocol.Unavailable, PressedStall, "too much waits to be sent to slow clients: try again later, or another server")
	}
	return nil
}

// relieveSometimes calls relieve, at most once a second.
func (p *pending) relieveSometimes() {
	now, last := time.Now().UnixNano(), p.relieved.Load()
	if now-last >= int64(time.Second) && p.relieved.CompareAndSwap(last, now) {
		p.relieve()
	}
}

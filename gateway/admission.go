package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/protocol"
)

// How long who was refused is asked to stay away where nobody knows when there will be room.
const (
	fullWait = 5 * time.Second // all places are taken
	busyWait = time.Second     // what is under way is short
)

// pressedStall is how long a client may take nothing while more waits to be
// written than may. It comes back with its cursor, and has lost nothing.
const pressedStall = 5 * time.Second

// admission decides which new work is taken. What has been taken is never
// touched by it: over a limit the new is refused, with the time after which to
// ask again, and counted. Its methods may be called concurrently.
type admission struct {
	limits  Limits
	refused *prometheus.CounterVec

	attached     atomic.Int64
	attachedOf   *tally
	readsOf      *tally
	attaches     *buckets[struct{}]
	attachesOf   *buckets[netip.Addr]
	commands     *buckets[string] // by session
	commandsOf   *buckets[netip.Addr]
	publishes    *buckets[string] // by channel
	publishBytes *buckets[string]

	pending  atomic.Int64 // bytes that wait to be written
	relieved atomic.Int64 // when relieve was called last, in nanoseconds of the Unix epoch
	relieve  func()       // cuts off clients that take nothing
}

func newAdmission(l Limits, m *metrics) *admission {
	return &admission{
		limits:       l,
		refused:      m.refused,
		attachedOf:   newTally(l.AttachmentsPerIP),
		readsOf:      newTally(l.ReadsPerIP),
		attaches:     newBuckets[struct{}](l.Attaches),
		attachesOf:   newBuckets[netip.Addr](l.AttachesPerIP),
		commands:     newBuckets[string](l.Commands),
		commandsOf:   newBuckets[netip.Addr](l.CommandsPerIP),
		publishes:    newBuckets[string](l.Publishes),
		publishBytes: newBuckets[string](l.PublishBytes),
	}
}

// refuse counts a refusal and makes its error.
func (d *admission) refuse(limit string, code protocol.Code, wait time.Duration, format string, args ...any) error {
	d.refused.WithLabelValues(limit).Inc()
	e := protocol.Errorf(code, format, args...)
	e.RetryAfter = wait
	return e
}

// attach takes a place for an attachment or a poll of c. The caller calls leave.
func (d *admission) attach(c client) error {
	if err := d.room(); err != nil {
		return err
	}
	if n := d.attached.Add(1); d.limits.Attachments >= 0 && n > int64(d.limits.Attachments) {
		d.attached.Add(-1)
		return d.refuse("attachments", protocol.Unavailable, fullWait, "all %d places of this server are taken: try again later, or another server", d.limits.Attachments)
	}
	if !d.attachedOf.enter(c.ip) {
		d.attached.Add(-1)
		return d.refuse("attachments_per_ip", protocol.RateLimited, fullWait, "your address has %d attachments, as many as it may: end some", d.limits.AttachmentsPerIP)
	}
	return nil
}

// leave gives back what attach took.
func (d *admission) leave(c client) {
	d.attachedOf.leave(c.ip)
	d.attached.Add(-1)
}

// begin takes one new attachment of c from those that may begin in this second.
func (d *admission) begin(c client) error {
	now := time.Now()
	if c.ip.IsValid() {
		if wait := d.attachesOf.take(c.ip, 1, now); wait > 0 {
			return d.refuse("attaches_per_ip", protocol.RateLimited, wait, "your address attaches more than %d times a second: wait", d.limits.AttachesPerIP)
		}
	}
	if wait := d.attaches.take(struct{}{}, 1, now); wait > 0 {
		return d.refuse("attaches", protocol.Unavailable, wait, "more than %d clients attach in a second: wait", d.limits.Attaches)
	}
	return nil
}

// command takes one command of c and of its session, which may be "" for none.
func (d *admission) command(c client, session string) error {
	now := time.Now()
	if session != "" {
		if wait := d.commands.take(session, 1, now); wait > 0 {
			return d.refuse("commands", protocol.RateLimited, wait, "the session sends more than %d commands a second: wait", d.limits.Commands)
		}
	}
	return d.commandsAt(c, 1, now)
}

// request takes n commands of c, without a session.
func (d *admission) request(c client, n int) error { return d.commandsAt(c, n, time.Now()) }

func (d *admission) commandsAt(c client, n int, now time.Time) error {
	if !c.ip.IsValid() {
		return nil
	}
	if wait := d.commandsOf.take(c.ip, n, now); wait > 0 {
		return d.refuse("commands_per_ip", protocol.RateLimited, wait, "your address sends more than %d commands a second: wait", d.limits.CommandsPerIP)
	}
	return nil
}

// publish takes n messages to a channel, of so many bytes in all.
func (d *admission) publish(channel string, n, bytes int) error {
	now := time.Now()
	if wait := d.publishes.take(channel, n, now); wait > 0 {
		return d.refuse("publishes", protocol.RateLimited, wait, "the channel gets more than %d messages a second: wait", d.limits.Publishes)
	}
	if wait := d.publishBytes.take(channel, bytes, now); wait > 0 {
		return d.refuse("publish_bytes", protocol.RateLimited, wait, "the channel gets more than %d bytes a second: wait", d.limits.PublishBytes)
	}
	return nil
}

// fanout reports that a message of so many bytes to n channels takes too much of the log, or nil.
func (d *admission) fanout(bytes, n int) error {
	if most := d.limits.Fanout; most >= 0 && bytes > most/n {
		return d.refuse("fanout", protocol.TooLarge, 0, "%d bytes to %d channels are over the limit of %d bytes in all: name fewer channels in one request", bytes, n, most)
	}
	return nil
}

// read takes a reading of the stored log for c. The caller calls done.
func (d *admission) read(c client) (done func(), err error) {
	if err := d.room(); err != nil {
		return nil, err
	}
	if !d.readsOf.enter(c.ip) {
		return nil, d.refuse("reads_per_ip", protocol.RateLimited, busyWait, "%d pages are being read for your address, as many as may be at a time: wait", d.limits.ReadsPerIP)
	}
	return func() { d.readsOf.leave(c.ip) }, nil
}

// hold counts bytes that wait to be written. The caller lets go of them, and
// holds no lock: if it is too much, clients are cut off.
func (d *admission) hold(bytes int) {
	d.pending.Add(int64(bytes))
	if d.pressed() {
		d.relieveSometimes()
	}
}

func (d *admission) letGo(bytes int) { d.pending.Add(-int64(bytes)) }

// pressed tells whether more waits to be written than may.
func (d *admission) pressed() bool {
	return d.limits.Pending >= 0 && d.pending.Load() > int64(d.limits.Pending)
}

// room reports that nothing may be taken that there would have to be written more for, or nil.
func (d *admission) room() error {
	if d.pressed() {
		d.relieveSometimes()
		return d.refuse("pending", protocol.Unavailable, pressedStall, "too much waits to be sent to slow clients: try again later, or another server")
	}
	return nil
}

// relieveSometimes calls relieve, at most once a second.
func (d *admission) relieveSometimes() {
	now, last := time.Now().UnixNano(), d.relieved.Load()
	if now-last >= int64(time.Second) && d.relieved.CompareAndSwap(last, now) {
		d.relieve()
	}
}

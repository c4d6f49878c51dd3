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
	limits  atomic.Pointer[Limits]
	refused *prometheus.CounterVec

	attached     atomic.Int64
	strangers    atomic.Int64 // of them, those of whom it is not known who they are
	attachedOf   *tally[netip.Addr]
	attachedAs   *tally[string] // by subject
	readsOf      *tally[netip.Addr]
	bodies       *tally[string]     // bytes, all under one key
	bodiesOf     *tally[netip.Addr] // bytes
	attaches     *buckets[struct{}]
	attachesOf   *buckets[netip.Addr]
	commands     *buckets[holderSession]
	commandsOf   *buckets[netip.Addr]
	publishes    *buckets[string] // by channel
	publishBytes *buckets[string]
	tickets      *buckets[string] // by holder
	guesses      *buckets[netip.Addr]
	publishesAs  *buckets[string] // by subject
	publishedAs  *buckets[string] // bytes

	pending  atomic.Int64 // bytes that wait to be written
	relieved atomic.Int64 // when relieve was called last, in nanoseconds of the Unix epoch
	relieve  func()       // cuts off clients that take nothing
}

func newAdmission(l Limits, m *metrics) *admission {
	d := &admission{
		refused:      m.refused,
		attachedOf:   newTally[netip.Addr](),
		attachedAs:   newTally[string](),
		readsOf:      newTally[netip.Addr](),
		bodies:       newTally[string](),
		bodiesOf:     newTally[netip.Addr](),
		attaches:     newBuckets[struct{}](),
		attachesOf:   newBuckets[netip.Addr](),
		commands:     newBuckets[holderSession](),
		tickets:      newBuckets[string](),
		commandsOf:   newBuckets[netip.Addr](),
		publishes:    newBuckets[string](),
		publishBytes: newBuckets[string](),
		guesses:      newBuckets[netip.Addr](),
		publishesAs:  newBuckets[string](),
		publishedAs:  newBuckets[string](),
	}
	d.setLimits(l)
	return d
}

// setLimits puts other limits in force. What has been taken stays.
func (d *admission) setLimits(l Limits) {
	d.limits.Store(&l)
	d.attachedOf.setMost(l.AttachmentsPerIP)
	d.attachedAs.setMost(l.AttachmentsPerSub)
	d.readsOf.setMost(l.ReadsPerIP)
	d.bodies.setMost(l.Bodies)
	d.bodiesOf.setMost(l.Bodies / bodiesShare)
	d.attaches.setRate(l.Attaches)
	d.attachesOf.setRate(l.AttachesPerIP)
	d.commands.setRate(l.Commands)
	d.tickets.setRate(l.Tickets)
	d.commandsOf.setRate(l.CommandsPerIP)
	d.publishes.setRate(l.Publishes)
	d.publishBytes.setRate(l.PublishBytes)
	d.guesses.setRate(l.GuessesPerIP)
	d.publishesAs.setRate(l.PublishesPerSub)
	d.publishedAs.setRate(l.PublishBytesPerSub)
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
	most := d.limits.Load().Attachments
	if n := d.attached.Add(1); most >= 0 && n > int64(most) {
		d.attached.Add(-1)
		return d.refuse("attachments", protocol.Unavailable, fullWait, "all %d places of this server are taken: try again later, or another server", most)
	}
	if !d.attachedOf.enter(c.ip) {
		d.attached.Add(-1)
		return d.refuse("attachments_per_ip", protocol.RateLimited, fullWait, "your address has %d attachments, as many as it may: end some", d.limits.Load().AttachmentsPerIP)
	}
	// Half of the places are for those of whom it is known who they are.
	if n := d.strangers.Add(1); most >= 0 && n > int64(most+1)/2 {
		d.leave(c, "", false)
		return d.refuse("attachments", protocol.Unavailable, fullWait, "too many clients have yet to say who they are: try again later, or another server")
	}
	return nil
}

// holderSession is a session of one holder of grants: another's of the same name is another.
type holderSession struct{ holder, session string }

// attachAs takes a place of those that the subject, which may be empty, has. The caller calls leave.
func (d *admission) attachAs(subject string) error {
	if !d.attachedAs.enter(subject) {
		return d.refuse("attachments_per_sub", protocol.RateLimited, fullWait, "you have %d attachments, as many as you may: end some", d.limits.Load().AttachmentsPerSub)
	}
	d.strangers.Add(-1)
	return nil
}

// leave gives back what attach took, and, if it is known who it was, attachAs.
func (d *admission) leave(c client, subject string, known bool) {
	if known {
		d.attachedAs.leave(subject)
	} else {
		d.strangers.Add(-1)
	}
	d.attachedOf.leave(c.ip)
	d.attached.Add(-1)
}

// approach takes what c may ask for before it is known who it is: a new
// attachment, or a poll that goes on, which is a command.
func (d *admission) approach(c client, goesOn bool) error {
	if goesOn {
		return d.request(c, 1)
	}
	if !c.ip.IsValid() {
		return nil
	}
	if wait := d.attachesOf.take(c.ip, 1, time.Now()); wait > 0 {
		return d.refuse("attaches_per_ip", protocol.RateLimited, wait, "your address attaches more than %d times a second: wait", d.limits.Load().AttachesPerIP)
	}
	return nil
}

// begin takes one new attachment from those that may begin in this second.
func (d *admission) begin() error {
	if wait := d.attaches.take(struct{}{}, 1, time.Now()); wait > 0 {
		return d.refuse("attaches", protocol.Unavailable, wait, "more than %d clients attach in a second: wait", d.limits.Load().Attaches)
	}
	return nil
}

// command takes one command of c and of its session, which may be "" for none.
func (d *admission) command(c client, session string) error {
	now := time.Now()
	if err := d.session(c, session, now); err != nil {
		return err
	}
	return d.commandsAt(c, 1, now)
}

// session takes one command of the session alone.
func (d *admission) session(c client, session string, now time.Time) error {
	if session == "" {
		return nil
	}
	if wait := d.commands.take(holderSession{c.holder(), session}, 1, now); wait > 0 {
		return d.refuse("commands", protocol.RateLimited, wait, "the session sends more than %d commands a second: wait", d.limits.Load().Commands)
	}
	return nil
}

// ticket takes one ticket of c.
func (d *admission) ticket(c client) error {
	if wait := d.tickets.take(c.holder(), 1, time.Now()); wait > 0 {
		return d.refuse("tickets", protocol.RateLimited, wait, "you ask for more than %d tickets a second: wait", d.limits.Load().Tickets)
	}
	return nil
}

// request takes n commands of c, without a session.
func (d *admission) request(c client, n int) error { return d.commandsAt(c, n, time.Now()) }

func (d *admission) commandsAt(c client, n int, now time.Time) error {
	if !c.ip.IsValid() {
		return nil
	}
	if wait := d.commandsOf.take(c.ip, n, now); wait > 0 {
		return d.refuse("commands_per_ip", protocol.RateLimited, wait, "your address sends more than %d commands a second: wait", d.limits.Load().CommandsPerIP)
	}
	return nil
}

// listen reports that c has shown too much that is no good, or nil.
func (d *admission) listen(c client) error {
	if !c.ip.IsValid() {
		return nil
	}
	if wait := d.guesses.wait(c.ip, 1, time.Now()); wait > 0 {
		return d.refuse("guesses_per_ip", protocol.RateLimited, wait, "your address shows more than %d bad tokens a second: wait", d.limits.Load().GuessesPerIP)
	}
	return nil
}

// guessed counts that c has shown something that is no good.
func (d *admission) guessed(c client) {
	if c.ip.IsValid() {
		d.guesses.take(c.ip, 1, time.Now())
	}
}

// publish takes n messages of c to a channel, of so many bytes in all.
func (d *admission) publish(c client, channel string, n, bytes int) error {
	now := time.Now()
	if sub := c.sub(); sub != "" {
		if wait := d.publishesAs.take(sub, n, now); wait > 0 {
			return d.refuse("publishes_per_sub", protocol.RateLimited, wait, "you publish more than %d messages a second: wait", d.limits.Load().PublishesPerSub)
		}
		if wait := d.publishedAs.take(sub, bytes, now); wait > 0 {
			return d.refuse("publish_bytes_per_sub", protocol.RateLimited, wait, "you publish more than %d bytes a second: wait", d.limits.Load().PublishBytesPerSub)
		}
	}
	if wait := d.publishes.take(channel, n, now); wait > 0 {
		return d.refuse("publishes", protocol.RateLimited, wait, "the channel gets more than %d messages a second: wait", d.limits.Load().Publishes)
	}
	if wait := d.publishBytes.take(channel, bytes, now); wait > 0 {
		return d.refuse("publish_bytes", protocol.RateLimited, wait, "the channel gets more than %d bytes a second: wait", d.limits.Load().PublishBytes)
	}
	return nil
}

// fanout reports that a message of so many bytes to n channels takes too much of the log, or nil.
func (d *admission) fanout(bytes, n int) error {
	if most := d.limits.Load().Fanout; most >= 0 && bytes > most/n {
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
		return nil, d.refuse("reads_per_ip", protocol.RateLimited, busyWait, "%d pages are being read for your address, as many as may be at a time: wait", d.limits.Load().ReadsPerIP)
	}
	return func() { d.readsOf.leave(c.ip) }, nil
}

// bodiesShare is the part of the bytes of bodies that one address may have.
const bodiesShare = 4

// allBodies is the key under which they are counted for all.
const allBodies = "all"

// takeBody takes n bytes of a body that c sends. The caller calls leaveBody.
func (d *admission) takeBody(c client, n int) error {
	if !d.bodies.enterN(allBodies, n) {
		return d.refuse("bodies", protocol.Unavailable, busyWait, "the bodies that are being read have %d bytes, as many as they may: try again", d.limits.Load().Bodies)
	}
	if !d.bodiesOf.enterN(c.ip, n) {
		d.bodies.leaveN(allBodies, n)
		return d.refuse("bodies", protocol.RateLimited, busyWait, "your address sends bodies of too many bytes at a time: send one after the other")
	}
	return nil
}

func (d *admission) leaveBody(c client, n int) {
	d.bodies.leaveN(allBodies, n)
	d.bodiesOf.leaveN(c.ip, n)
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
	most := d.limits.Load().Pending
	return most >= 0 && d.pending.Load() > int64(most)
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

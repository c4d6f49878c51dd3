// Package admission decides which new work is taken: of whom, and how much at a
// time or a second. It counts. Who somebody is, what they may do and how it
// came here, others know.
package admission

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// How long who was refused is asked to stay away where nobody knows when there will be room.
const (
	fullWait = 5 * time.Second // all places are taken
	busyWait = time.Second     // what is under way is short
)

// A Door decides which new work is taken. What has been taken is never touched
// by it: over a limit the new is refused, with a protocol.Error that has the time
// after which to ask again, and counted. Its methods may be called concurrently.
type Door struct {
	limits  atomic.Pointer[Limits]
	refused func(limit string)

	places    places
	rates     rates
	publishes publishes
	requests  *requests
	reads     *tally[netip.Addr]
	bodies    bodies
	pending   pending
}

// Client is whom work is counted to.
type Client struct {
	IP      netip.Addr // one IPv4 address, or the first of a /64 of IPv6. Zero: limits by address do not apply
	Subject string     // of its token; "" if it has none
	APIKey  string     // the name of the one that it shows; "" for none
	Trusted bool       // it works for many, with an API key, or nobody is checked: limits by subject do not apply
	Known   bool       // it has shown who it is. Only bodies and places ask
}

// A holder is whose sessions are: a subject, or an API key's name after a NUL,
// which no subject has; "" for all that are nobody in particular. It is one
// string because each command looks it up.
type holder string

func (c Client) holder() holder {
	if c.APIKey != "" {
		return holder("\x00" + c.APIKey)
	}
	return holder(c.Subject)
}

// A who is whom work is counted to: a holder, or nobody in particular by the
// address. Zero: there is no telling.
type who struct {
	holder
	ip netip.Addr
}

func (c Client) who() who {
	if h := c.holder(); h != "" {
		return who{holder: h}
	}
	return who{ip: c.IP}
}

// New makes a door with these limits. It calls refused with the name of the
// limit for each refusal, and relieve, at most once a second, when too much
// waits to be written, to all or to some: to cut off clients that have taken nothing
// for PressedStall, of those whose Share is Over.
func New(l Limits, refused func(limit string), relieve func()) *Door {
	d := &Door{
		refused:   refused,
		places:    newPlaces(),
		rates:     newRates(),
		publishes: newPublishes(),
		requests:  newRequests(),
		reads:     newTally[netip.Addr](),
		bodies:    newBodies(),
		pending:   pending{relieve: relieve, shares: make(map[who]*Share)},
	}
	d.pending.nobody.d = d
	d.SetLimits(l)
	return d
}

// Limits are those in force, with their defaults. They are not to be changed.
func (d *Door) Limits() *Limits { return d.limits.Load() }

// SetLimits puts other limits in force. What has been taken stays.
func (d *Door) SetLimits(l Limits) {
	l = l.WithDefaults()
	d.limits.Store(&l)
	d.places.setLimits(&l)
	d.rates.setLimits(&l)
	d.publishes.setLimits(&l)
	d.requests.most.Store(int64(l.RequestsPerIP))
	d.reads.setMost(l.ReadsPerIP)
	d.bodies.setLimits(&l)
	d.pending.setLimits(&l)
}

// refuse counts a refusal and makes its error.
func (d *Door) refuse(limit string, code protocol.Code, wait time.Duration, format string, args ...any) error {
	d.refused(limit)
	e := protocol.Errorf(code, format, args...)
	e.RetryAfter = wait
	return e
}

// Header refuses a request whose header has so many bytes, if those are too many.
func (d *Door) Header(bytes int) error {
	most := d.Limits().Header
	if bytes <= most {
		return nil
	}
	return d.refuse("header", protocol.HeaderTooLarge, 0, "the header has %d bytes, and may have %d: send fewer cookies, or a shorter token", bytes, most)
}

// Taken is how much is taken.
type Taken struct {
	Places     int // by attachments and polls
	OfSubjects int // of them, those that count to a subject
	Bodies     int // bytes
	Pending    int // bytes
}

// Taken is how much is taken now.
func (d *Door) Taken() Taken {
	return Taken{
		Places:     int(d.places.all.Load()),
		OfSubjects: d.places.bySubject.sum(),
		Bodies:     d.bodies.all.sum(),
		Pending:    int(d.pending.bytes.Load()),
	}
}

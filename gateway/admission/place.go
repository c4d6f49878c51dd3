package admission

import (
	"net/netip"
	"sync/atomic"

	"github.com/fairlead/fairlead/protocol"
)

// places are those of attachments, and of polls that wait.
type places struct {
	all       atomic.Int64
	byIP      *tally[netip.Addr]
	bySubject *tally[string]
	strangers strangers
}

// strangers are those of whom it is not known who they are. Who means well is
// one for a round trip or two, so few places do for many of one address.
type strangers struct {
	all       atomic.Int64
	byIP      *tally[netip.Addr]
	byNetwork *tally[netip.Prefix]
}

// Of the places of strangers one address may have a quarter, but no more than may
// begin to attach at once: 1,000 by default. A /48 of IPv6, which one customer is
// commonly given, may have some times what an address may.
const (
	strangersOfAddress = 4
	networkBits        = 48
	networkAddresses   = 4
)

func newPlaces() places {
	return places{
		byIP: newTally[netip.Addr](), bySubject: newTally[string](),
		strangers: strangers{byIP: newTally[netip.Addr](), byNetwork: newTally[netip.Prefix]()},
	}
}

func (p *places) setLimits(l *Limits) {
	p.byIP.setMost(l.AttachmentsPerIP)
	p.bySubject.setMost(l.AttachmentsPerSub)
	ofAddress := -1
	if l.AttachesPerIP >= 0 {
		ofAddress = BurstSeconds * l.AttachesPerIP
	}
	if l.Attachments >= 0 {
		if quarter := max(l.strangers()/strangersOfAddress, 1); ofAddress < 0 || quarter < ofAddress {
			ofAddress = quarter
		}
	}
	p.strangers.byIP.setMost(ofAddress)
	p.strangers.byNetwork.setMost(ofAddress * networkAddresses)
}

// strangers is how many places there are for those of whom it is not known who
// they are: half of all.
func (l *Limits) strangers() int { return (l.Attachments + 1) / 2 }

// network is the part of IPv6 that the address is in; zero for IPv4.
func network(ip netip.Addr) netip.Prefix {
	if !ip.Is6() {
		return netip.Prefix{}
	}
	n, _ := ip.Prefix(networkBits) // fails only for other versions
	return n
}

// A Place is what an attachment or a poll takes of those that there may be. One
// goroutine at a time uses it.
type Place struct {
	d       *Door
	ip      netip.Addr
	subject string // whose place it is, too; "" for nobody's
	known   bool   // who is there
	empty   bool
}

// Attach takes a place for an attachment or a poll of c: of a stranger until
// Admit, unless c.Known. The caller calls Leave.
func (d *Door) Attach(c Client) (*Place, error) {
	if err := d.Room(); err != nil {
		return nil, err
	}
	most := d.Limits().Attachments
	if n := d.places.all.Add(1); most >= 0 && n > int64(most) {
		d.places.all.Add(-1)
		return nil, d.refuse("attachments", protocol.Unavailable, fullWait, "all %d places of this server are taken: try again later, or another server", most)
	}
	if !d.places.byIP.enter(c.IP) {
		d.places.all.Add(-1)
		return nil, d.refuse("attachments_per_ip", protocol.RateLimited, fullWait, "your address has %d attachments, as many as it may: end some", d.Limits().AttachmentsPerIP)
	}
	p := &Place{d: d, ip: c.IP, known: c.Known}
	var err error
	if c.Known {
		err = p.Admit(c.Subject)
	} else {
		err = d.enterStranger(c.IP)
	}
	if err != nil {
		d.places.byIP.leave(c.IP)
		d.places.all.Add(-1)
		return nil, err
	}
	return p, nil
}

func (d *Door) enterStranger(ip netip.Addr) error {
	s, l := &d.places.strangers, d.Limits()
	if n := s.all.Add(1); l.Attachments >= 0 && n > int64(l.strangers()) {
		s.all.Add(-1)
		return d.refuse("attachments", protocol.Unavailable, fullWait, "too many clients have yet to say who they are: try again later, or another server")
	}
	if !s.byIP.enter(ip) {
		s.all.Add(-1)
		return d.refuseStranger("address")
	}
	if !s.byNetwork.enter(network(ip)) {
		s.byIP.leave(ip)
		s.all.Add(-1)
		return d.refuseStranger("network")
	}
	return nil
}

// refuseStranger asks to come back soon: those who mean well are strangers no longer then.
func (d *Door) refuseStranger(of string) error {
	return d.refuse("attaches_per_ip", protocol.RateLimited, busyWait, "too many clients of your %s have yet to say who they are: wait, and send the token in the Authorization header", of)
}

func (d *Door) leaveStranger(ip netip.Addr) {
	s := &d.places.strangers
	s.all.Add(-1)
	s.byIP.leave(ip)
	s.byNetwork.leave(network(ip))
}

// Admit makes it a place of the subject, which may be empty, as well, if that
// may have one more. Of who was known before it is theirs then.
func (p *Place) Admit(subject string) error {
	of := p.d.places.bySubject
	if p.known && subject == p.subject {
		return nil
	}
	if !of.enter(subject) {
		return p.d.refuse("attachments_per_sub", protocol.RateLimited, fullWait, "you have %d attachments, as many as you may: end some", p.d.Limits().AttachmentsPerSub)
	}
	if p.known {
		of.leave(p.subject)
	} else {
		p.d.leaveStranger(p.ip)
	}
	p.subject, p.known = subject, true
	return nil
}

// Leave gives the place back, once.
func (p *Place) Leave() {
	if p.empty {
		return
	}
	p.empty = true
	if p.known {
		p.d.places.bySubject.leave(p.subject)
	} else {
		p.d.leaveStranger(p.ip)
	}
	p.d.places.byIP.leave(p.ip)
	p.d.places.all.Add(-1)
}

// Hand returns the place for another to leave.
func (p *Place) Hand() *Place {
	handed := *p
	p.empty = true
	return &handed
}

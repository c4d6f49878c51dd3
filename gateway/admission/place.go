package admission

import (
	"net/netip"
	"sync/atomic"

	"github.com/fairlead/fairlead/protocol"
)

// places are those of attachments, and of polls that wait.
type places struct {
	all       atomic.Int64
	strangers atomic.Int64 // of them, those of whom it is not known who they are
	byIP      *tally[netip.Addr]
	bySubject *tally[string]
}

func newPlaces() places {
	return places{byIP: newTally[netip.Addr](), bySubject: newTally[string]()}
}

func (p *places) setLimits(l *Limits) {
	p.byIP.setMost(l.AttachmentsPerIP)
	p.bySubject.setMost(l.AttachmentsPerSub)
}

// A Place is what an attachment or a poll takes of those that there may be, from
// before it is known who it is. One goroutine at a time uses it.
type Place struct {
	d       *Door
	ip      netip.Addr
	subject string // whose place it is, too; "" for nobody's
	known   bool   // who is there
	empty   bool
}

// Attach takes a place for an attachment or a poll of c. The caller calls Leave.
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
	p := &Place{d: d, ip: c.IP}
	// Half of the places are for those of whom it is known who they are.
	if n := d.places.strangers.Add(1); most >= 0 && n > int64(most+1)/2 {
		p.Leave()
		return nil, d.refuse("attachments", protocol.Unavailable, fullWait, "too many clients have yet to say who they are: try again later, or another server")
	}
	return p, nil
}

// Admit makes it a place of the subject, which may be empty, as well, if that
// may have one more. It is called once at most with success.
func (p *Place) Admit(subject string) error {
	if !p.d.places.bySubject.enter(subject) {
		return p.d.refuse("attachments_per_sub", protocol.RateLimited, fullWait, "you have %d attachments, as many as you may: end some", p.d.Limits().AttachmentsPerSub)
	}
	p.d.places.strangers.Add(-1)
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
		p.d.places.strangers.Add(-1)
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

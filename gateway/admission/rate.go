package admission

import (
	"net/netip"

	"github.com/fairlead/fairlead/protocol"
)

// rates are how fast clients may come, ask, and err.
type rates struct {
	attaches     *buckets[struct{}]
	attachesByIP *buckets[netip.Addr]
	commands     *buckets[holderSession]
	commandsByIP *buckets[netip.Addr]
	tickets      *buckets[who]
	guesses      *buckets[netip.Addr]
}

// holderSession is a session of one holder: another's of the same name is another.
type holderSession struct {
	holder
	session string
}

func newRates() rates {
	return rates{
		attaches:     newBuckets[struct{}](),
		attachesByIP: newBuckets[netip.Addr](),
		commands:     newBuckets[holderSession](),
		commandsByIP: newBuckets[netip.Addr](),
		tickets:      newBuckets[who](),
		guesses:      newBuckets[netip.Addr](),
	}
}

func (r *rates) setLimits(l *Limits) {
	r.attaches.setRate(l.Attaches)
	r.attachesByIP.setRate(l.AttachesPerIP)
	r.commands.setRate(l.Commands)
	r.commandsByIP.setRate(l.CommandsPerIP)
	r.tickets.setRate(l.Tickets)
	r.guesses.setRate(l.GuessesPerIP)
}

// Approach takes one new attachment of c, before it is known who it is.
func (d *Door) Approach(c Client) error {
	if !c.IP.IsValid() {
		return nil
	}
	if wait := d.rates.attachesByIP.take(c.IP, 1, now()); wait > 0 {
		return d.refuse("attaches_per_ip", protocol.RateLimited, wait, "your address attaches more than %d times a second: wait", d.Limits().AttachesPerIP)
	}
	return nil
}

// Begin takes one new attachment from those that may begin in this second.
func (d *Door) Begin() error {
	if wait := d.rates.attaches.take(struct{}{}, 1, now()); wait > 0 {
		return d.refuse("attaches", protocol.Unavailable, wait, "more than %d clients attach in a second: wait", d.Limits().Attaches)
	}
	return nil
}

// Command takes one command of c and of its session, which may be "" for none.
func (d *Door) Command(c Client, session string) error {
	now := now()
	if err := d.ofSession(c, session, now); err != nil {
		return err
	}
	return d.ofAddress(c, 1, now)
}

// Resume takes one command of the session alone.
func (d *Door) Resume(c Client, session string) error { return d.ofSession(c, session, now()) }

// Request takes n commands of c, without a session.
func (d *Door) Request(c Client, n int) error { return d.ofAddress(c, n, now()) }

func (d *Door) ofSession(c Client, session string, now moment) error {
	if session == "" {
		return nil
	}
	if wait := d.rates.commands.take(holderSession{c.holder(), session}, 1, now); wait > 0 {
		return d.refuse("commands", protocol.RateLimited, wait, "the session sends more than %d commands a second: wait", d.Limits().Commands)
	}
	return nil
}

func (d *Door) ofAddress(c Client, n int, now moment) error {
	if !c.IP.IsValid() {
		return nil
	}
	if wait := d.rates.commandsByIP.take(c.IP, n, now); wait > 0 {
		return d.refuse("commands_per_ip", protocol.RateLimited, wait, "your address sends more than %d commands a second: wait", d.Limits().CommandsPerIP)
	}
	return nil
}

// ticketBytes is how many bytes of rights make a ticket count as one more.
const ticketBytes = 512

// Ticket takes one ticket of c, which has to be kept with so many bytes of rights.
func (d *Door) Ticket(c Client, bytes int) error {
	if wait := d.rates.tickets.take(c.who(), 1+bytes/ticketBytes, now()); wait > 0 {
		return d.refuse("tickets", protocol.RateLimited, wait, "you ask for more than %d tickets a second: wait", d.Limits().Tickets)
	}
	return nil
}

// Listen reports that c has shown too much that is no good, or nil.
func (d *Door) Listen(c Client) error {
	if !c.IP.IsValid() {
		return nil
	}
	if wait := d.rates.guesses.wait(c.IP, 1, now()); wait > 0 {
		return d.refuse("guesses_per_ip", protocol.RateLimited, wait, "your address shows more than %d bad tokens a second: wait", d.Limits().GuessesPerIP)
	}
	return nil
}

// Guessed counts that c has shown something that is no good.
func (d *Door) Guessed(c Client) {
	if c.IP.IsValid() {
		d.rates.guesses.take(c.IP, 1, now())
	}
}

package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// Of each rate there is as much as it says; then it tells when there is more, and that is true.
func TestEachRateRefusesAndSaysWhenToComeBack(t *testing.T) {
	for name, c := range map[string]struct {
		limits   Limits // one a second
		take     func(d *Door, c Client) error
		code     protocol.Code
		forOther bool // another is refused as well
		forLocal bool // this machine is, too
	}{
		"attaches":              {Limits{Attaches: 1}, func(d *Door, _ Client) error { return d.Begin() }, protocol.Unavailable, true, true},
		"attaches_per_ip":       {Limits{AttachesPerIP: 1}, (*Door).Approach, protocol.RateLimited, false, false},
		"commands":              {Limits{Commands: 1}, func(d *Door, c Client) error { return d.Command(c, "s") }, protocol.RateLimited, false, true},
		"commands_per_ip":       {Limits{CommandsPerIP: 1}, func(d *Door, c Client) error { return d.Command(c, "") }, protocol.RateLimited, false, false},
		"tickets":               {Limits{Tickets: 1}, func(d *Door, c Client) error { return d.Ticket(c, ticketBytes-1) }, protocol.RateLimited, false, true},
		"publishes":             {Limits{Publishes: 1}, func(d *Door, c Client) error { return d.Publish(c, "a", 1, 9) }, protocol.RateLimited, true, true},
		"publish_bytes":         {Limits{PublishBytes: 9}, func(d *Door, c Client) error { return d.Publish(c, "a", 1, 9) }, protocol.RateLimited, true, true},
		"publishes_per_sub":     {Limits{PublishesPerSub: 1}, func(d *Door, c Client) error { return d.Publish(c, "a", 1, 9) }, protocol.RateLimited, false, false},
		"publish_bytes_per_sub": {Limits{PublishBytesPerSub: 9}, func(d *Door, c Client) error { return d.Publish(c, "a", 1, 9) }, protocol.RateLimited, false, false},
		"guesses_per_ip": {Limits{GuessesPerIP: 1}, func(d *Door, c Client) error {
			err := d.Listen(c)
			if err == nil {
				d.Guessed(c)
			}
			return err
		}, protocol.RateLimited, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := doorWith(c.limits)
			for range BurstSeconds {
				want(t, c.take(w.Door, someone))
			}
			wait := w.wantRefused(t, c.take(w.Door, someone), c.code, name)
			if wait <= 0 || wait > time.Second+time.Millisecond {
				t.Errorf("%s: asks for %v", name, wait)
			}
			if err := c.take(w.Door, another); (err != nil) != c.forOther {
				t.Errorf("%s: another gets %v", name, err)
			}
			for range BurstSeconds {
				_ = c.take(w.Door, local)
			}
			if err := c.take(w.Door, local); (err != nil) != c.forLocal {
				t.Errorf("%s: this machine gets %v", name, err)
			}
			time.Sleep(time.Minute)
			want(t, c.take(w.Door, someone))
		})
	}
}

// A session of the same name, but of another holder, is another.
func TestCommandsCountToASessionOfItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := doorWith(Limits{Commands: 1, CommandsPerIP: 100})
		for range BurstSeconds {
			want(t, w.Command(someone, "s"))
		}
		w.wantRefused(t, w.Command(someone, "s"), protocol.RateLimited, "commands")
		w.wantRefused(t, w.Resume(someone, "s"), protocol.RateLimited, "commands")
		want(t, w.Command(another, "s"))
		want(t, w.Command(someone, "t"))
		for range 2 * BurstSeconds {
			want(t, w.Command(someone, ""))
		}
		want(t, w.Request(someone, 1))
	})
}

// Who has a sub, who has an API key of that name, and who has neither are three.
func TestNamesOfDifferentKindsAreDifferentHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for limit, take := range map[string]func(d *Door, c Client) error{
			"tickets":  func(d *Door, c Client) error { return d.Ticket(c, 0) },
			"commands": func(d *Door, c Client) error { return d.Command(c, "s") },
		} {
			w := doorWith(Limits{Commands: 1, Tickets: 1})
			for _, c := range []Client{{Subject: "ann"}, {APIKey: "ann"}, {}} {
				for range BurstSeconds {
					want(t, take(w.Door, c))
				}
				w.wantRefused(t, take(w.Door, c), protocol.RateLimited, limit)
			}
		}
	})
}

func TestATicketOfManyRightsCountsAsMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := doorWith(Limits{Tickets: 10})
		want(t, w.Ticket(someone, 9*ticketBytes))
		want(t, w.Ticket(someone, 9*ticketBytes))
		w.wantRefused(t, w.Ticket(someone, 0), protocol.RateLimited, "tickets")
		want(t, w.Ticket(another, 1000*ticketBytes))
		w.wantRefused(t, w.Ticket(another, 0), protocol.RateLimited, "tickets")
	})
}

// Who has no sub has an address instead, as far as there is one.
func TestTicketsOfNobodyCountToTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := doorWith(Limits{Tickets: 1})
		for _, c := range []Client{{IP: someone.IP}, {IP: another.IP}} {
			for range BurstSeconds {
				want(t, w.Ticket(c, 0))
			}
			w.wantRefused(t, w.Ticket(c, 0), protocol.RateLimited, "tickets")
		}
	})
}

package admission

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestAPlaceIsGivenBackOnceWhoeverLeavesIt(t *testing.T) {
	w := doorWith(Limits{})
	attach := func(subjects ...string) *Place {
		t.Helper()
		p, err := w.Attach(someone)
		want(t, err)
		for _, subject := range subjects {
			want(t, p.Admit(subject))
		}
		return p
	}
	stranger, ann, bob, nobody := attach(), attach("ann"), attach("bob"), attach("")
	if got, want := w.Taken(), (Taken{Places: 4, OfSubjects: 2}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	handed := ann.Hand()
	ann.Leave() // it is not its any more
	if got, want := w.Taken(), (Taken{Places: 4, OfSubjects: 2}); got != want {
		t.Errorf("after it was handed on: got %+v, want %+v", got, want)
	}
	for _, p := range []*Place{stranger, handed, bob, nobody} {
		p.Leave()
		p.Leave()
	}
	w.wantNothingTaken(t)
}

// Nothing is kept of what was refused.
func TestPlacesAreLimited(t *testing.T) {
	nowhere := Client{Subject: "ann"}
	for name, c := range map[string]struct {
		limit  string
		who    Client
		limits Limits
		code   protocol.Code
		known  int // places that are taken and known, and then strangers
		others int
		admit  bool // it is refused when it is known who it is
	}{
		"all places":             {"attachments", someone, Limits{Attachments: 3}, protocol.Unavailable, 3, 0, false},
		"half by strangers":      {"attachments", nowhere, Limits{Attachments: 3}, protocol.Unavailable, 0, 2, false},
		"those of an address":    {"attachments_per_ip", someone, Limits{AttachmentsPerIP: 2}, protocol.RateLimited, 1, 1, false},
		"those of a subject":     {"attachments_per_sub", someone, Limits{AttachmentsPerSub: 2}, protocol.RateLimited, 2, 0, true},
		"too much to be written": {"pending", someone, Limits{Pending: 10}, protocol.Unavailable, 0, 0, false},
	} {
		w := doorWith(c.limits)
		var all []*Place
		for i := range c.known + c.others {
			p, err := w.Attach(c.who)
			want(t, err)
			if i < c.known {
				want(t, p.Admit(someone.Subject))
			}
			all = append(all, p)
		}
		if c.limit == "pending" {
			w.Share(local).Hold(11)
		}
		before := w.Taken()
		p, err := w.Attach(c.who)
		if c.admit {
			want(t, err)
			err = p.Admit(someone.Subject)
			p.Leave()
		}
		if wait := w.wantRefused(t, err, c.code, c.limit); wait != 5*time.Second {
			t.Errorf("%s: asks for %v", name, wait)
		}
		if after := w.Taken(); after != before {
			t.Errorf("%s: taken is %+v, and was %+v", name, after, before)
		}
		if len(all) > 0 {
			all[0].Leave()
			again, err := w.Attach(c.who)
			want(t, err)
			all[0] = again
		}
		for _, p := range all {
			p.Leave()
		}
		w.Share(local).LetGo(before.Pending)
		w.wantNothingTaken(t)
	}
}

// strangersOf takes places for so many strangers of the address, and checks that another has none.
func (w *watched) strangersOf(t *testing.T, ip string, n int) (all []*Place) {
	t.Helper()
	c := Client{IP: netip.MustParseAddr(ip)}
	for range n {
		p, err := w.Attach(c)
		want(t, err)
		all = append(all, p)
	}
	before := w.Taken()
	_, err := w.Attach(c)
	if wait := w.wantRefused(t, err, protocol.RateLimited, "attaches_per_ip"); wait != time.Second {
		t.Errorf("it asks for %v", wait)
	}
	if after := w.Taken(); after != before {
		t.Errorf("taken is %+v, and was %+v", after, before)
	}
	return all
}

// Who begins to attach and goes no further leaves room for others.
func TestStrangersOfAnAddressAreFew(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		most   int
	}{
		"by default":                     {Limits{}, 1000},
		"as many as may begin at once":   {Limits{AttachesPerIP: 10}, 20},
		"a quarter of those of all":      {Limits{Attachments: 799}, 100},
		"of a few":                       {Limits{Attachments: 3, AttachesPerIP: 1000}, 1},
		"where as many may begin as can": {Limits{AttachesPerIP: -1}, 12_500},
	} {
		w := doorWith(c.limits)
		w.SetLimits(func(l Limits) Limits { l.AttachmentsPerIP = -1; return l }(c.limits))
		all := w.strangersOf(t, "192.0.2.7", c.most)
		if name != "of a few" { // where it is half of those of all
			other, err := w.Attach(another)
			want(t, err)
			other.Leave()
		}
		known := someone
		known.Known = true
		p, err := w.Attach(known) // of the same address
		want(t, err)
		p.Leave()
		want(t, all[0].Admit("ann")) // is none any more
		p, err = w.Attach(someone)
		want(t, err)
		for _, p := range append(all, p) {
			p.Leave()
		}
		w.wantNothingTaken(t)
	}
}

// An IPv6 network has more /64s than there are places.
func TestStrangersOfANetworkAreFew(t *testing.T) {
	w := doorWith(Limits{AttachesPerIP: 5})
	var all []*Place
	for i := range 4 {
		all = append(all, w.strangersOf(t, fmt.Sprintf("2001:db8:0:%x::", i), 10)...)
	}
	all = append(all, w.strangersOf(t, "2001:db8:0:9::", 0)...)
	all = append(all, w.strangersOf(t, "2001:db8:1::", 10)...)
	all = append(all, w.strangersOf(t, "192.0.2.7", 10)...)
	for _, p := range all {
		p.Leave()
	}
	w.wantNothingTaken(t)
}

// Who shows one subject in the header, and another in the hello, is the second.
func TestAPlaceOfSomebodyKnownMayBecomeAnothers(t *testing.T) {
	w := doorWith(Limits{AttachmentsPerSub: 1})
	ann := Client{Subject: "ann", Known: true}
	p, err := w.Attach(ann)
	want(t, err)
	before := w.Taken()
	_, err = w.Attach(ann)
	w.wantRefused(t, err, protocol.RateLimited, "attachments_per_sub")
	if after := w.Taken(); after != before || after.OfSubjects != 1 {
		t.Errorf("taken is %+v, and was %+v", after, before)
	}
	want(t, p.Admit("ann"))
	want(t, p.Admit("bob"))
	q, err := w.Attach(ann)
	want(t, err)
	w.wantRefused(t, q.Admit("bob"), protocol.RateLimited, "attachments_per_sub")
	q.Leave()
	p.Leave()
	w.wantNothingTaken(t)
}

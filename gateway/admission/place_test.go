package admission

import (
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
	for name, c := range map[string]struct {
		limit  string
		limits Limits
		code   protocol.Code
		known  int // places that are taken and known, and then strangers
		others int
		admit  bool // it is refused when it is known who it is
	}{
		"all places":             {"attachments", Limits{Attachments: 3}, protocol.Unavailable, 3, 0, false},
		"half by strangers":      {"attachments", Limits{Attachments: 3}, protocol.Unavailable, 0, 2, false},
		"those of an address":    {"attachments_per_ip", Limits{AttachmentsPerIP: 2}, protocol.RateLimited, 1, 1, false},
		"those of a subject":     {"attachments_per_sub", Limits{AttachmentsPerSub: 2}, protocol.RateLimited, 2, 0, true},
		"too much to be written": {"pending", Limits{Pending: 10}, protocol.Unavailable, 0, 0, false},
	} {
		w := doorWith(c.limits)
		var all []*Place
		for i := range c.known + c.others {
			p, err := w.Attach(someone)
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
		p, err := w.Attach(someone)
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
			again, err := w.Attach(someone)
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

package admission

import (
	"strconv"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

var origin = Client{IP: someone.IP, APIKey: "ann", Trusted: true}

// hold has c hold bytes until release is called.
func (w *watched) hold(c Client, bytes int) (release func()) {
	s := w.Share(c)
	s.Hold(bytes)
	return func() {
		s.LetGo(bytes)
		s.Leave()
	}
}

// wantNoShares checks that all shares were given back.
func (w *watched) wantNoShares(t *testing.T) {
	t.Helper()
	w.wantNothingTaken(t)
	p := &w.pending
	if len(p.shares) != 0 || p.within.Load() != 0 || p.used.Load() != 0 {
		t.Errorf("still there are %d shares, with %d bytes, and %d are used up", len(p.shares), p.within.Load(), p.used.Load())
	}
}

// One client has an eighth, an API key a half, and who is beyond that takes nothing from others.
func TestOneClientHasAShareOfWhatWaits(t *testing.T) {
	anonymous, neighbour := Client{IP: someone.IP}, Client{IP: someone.IP, Subject: "bob"}
	for _, c := range []struct {
		Client
		share  int
		others []Client
	}{
		{someone, 100, []Client{another, anonymous, neighbour, origin, local}},
		{anonymous, 100, []Client{someone, {IP: another.IP}, origin, local}},
		{origin, 400, []Client{someone, another, anonymous, local, {IP: origin.IP, APIKey: "bob"}}},
	} {
		w := doorWith(Limits{Pending: 800, WriteStall: time.Minute})
		most := w.hold(c.Client, c.share-1)
		want(t, w.RoomFor(c.Client))
		if w.relieved != 0 || w.Share(c.Client).Over() {
			t.Errorf("%+v is over its share with less", c.Client)
		}
		for _, more := range []int{1, 1_000_000} {
			release := w.hold(c.Client, more)
			if wait := w.wantRefused(t, w.RoomFor(c.Client), protocol.RateLimited, "pending"); wait != PressedStall {
				t.Errorf("asks for %v", wait)
			}
			if s := w.Share(c.Client); !s.Over() || s.Stall() != PressedStall || w.relieved != 1 {
				t.Errorf("%+v with %d more: over %v, stall %v, relieved %d times", c.Client, more, s.Over(), s.Stall(), w.relieved)
			}
			for _, other := range c.others {
				want(t, w.RoomFor(other))
				if s := w.Share(other); s.Over() || s.Stall() != time.Minute {
					t.Errorf("%+v suffers from %+v", other, c.Client)
				}
			}
			want(t, w.Room())
			release()
		}
		want(t, w.RoomFor(c.Client))
		most()
		if w.pending.used.Load() != 0 || w.pending.within.Load() != 0 {
			t.Errorf("%d shares are used up, %d bytes are held", w.pending.used.Load(), w.pending.within.Load())
		}
	}
}

// Many have as much together as they may, however much some have beyond their shares.
func TestWhatIsWithinSharesIsLimitedInAll(t *testing.T) {
	w := doorWith(Limits{Pending: 800})
	var releases []func()
	for i := range 7 {
		releases = append(releases, w.hold(Client{IP: another.IP, Subject: strconv.Itoa(i)}, 1_000_000))
	}
	releases = append(releases, w.hold(local, 100))
	want(t, w.RoomFor(someone))
	releases = append(releases, w.hold(local, 1))
	for _, c := range []Client{someone, another, origin, local} {
		w.wantRefused(t, w.RoomFor(c), protocol.Unavailable, "pending")
		if s := w.Share(c); !s.Over() {
			t.Errorf("%+v is not over, though all are", c)
		} else {
			s.Leave()
		}
	}
	for _, release := range releases {
		release()
	}
	w.wantNoShares(t)
}

// Shares follow the limit, whatever is held of them.
func TestSharesFollowTheLimit(t *testing.T) {
	w := doorWith(Limits{Pending: 800})
	release := w.hold(someone, 150)
	for _, c := range []struct {
		pending int
		over    bool
	}{{8000, false}, {800, true}, {-1, false}, {1200, true}, {1201 + 8, false}} {
		w.SetLimits(Limits{Pending: c.pending})
		s := w.Share(someone)
		if s.Over() != c.over {
			t.Errorf("of %d: over is %v", c.pending, s.Over())
		}
		if s.Leave(); c.over {
			w.wantRefused(t, w.RoomFor(someone), protocol.RateLimited, "pending")
		} else {
			want(t, w.RoomFor(someone))
		}
	}
	release()
	w.wantNoShares(t)
}

// What is about to be gathered is held before it is there: another cannot be begun meanwhile.
func TestAnAnswerIsHeldBeforeItIsGathered(t *testing.T) {
	w := doorWith(Limits{Pending: 8 * gatherBytes})
	first, second, other := w.Answer(someone), w.Answer(someone), w.Answer(another)
	want(t, first.Gather())
	w.wantRefused(t, second.Gather(), protocol.RateLimited, "pending")
	want(t, other.Gather())
	if got := w.Taken().Pending; got != 2*gatherBytes {
		t.Errorf("%d bytes are held", got)
	}
	first.Has(1000)
	want(t, second.Gather())
	second.Has(0)
	if got := w.Taken().Pending; got != gatherBytes+1000 || first.Bytes() != 1000 {
		t.Errorf("%d bytes are held, %d of them by the first", got, first.Bytes())
	}
	first.Leave()
	second.Leave()
	other.Leave()
	w.wantNoShares(t)

	w.SetLimits(Limits{Pending: 80}) // less than is gathered at a time: then one after the other
	first, second = w.Answer(someone), w.Answer(someone)
	want(t, first.Gather())
	w.wantRefused(t, second.Gather(), protocol.RateLimited, "pending")
	first.Leave()
	want(t, second.Gather())
	second.Leave()
	all := w.Answer(local)
	want(t, all.Gather())
	want(t, w.RoomFor(another))
	all.Leave()
	w.wantNoShares(t)
}

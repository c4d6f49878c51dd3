package admission

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

var (
	someone = Client{IP: netip.MustParseAddr("192.0.2.7"), Subject: "ann"}
	another = Client{IP: netip.MustParseAddr("198.51.100.1"), Subject: "bob"}
	local   = Client{} // of no address, and nobody
)

// watched is a door, with what it was told of its refusals and how often it asked for relief.
type watched struct {
	*Door
	refusals []string
	relieved int
}

// doorWith is a door with these limits.
func doorWith(l Limits) *watched {
	w := new(watched)
	w.Door = New(l, func(limit string) { w.refusals = append(w.refusals, limit) }, func() { w.relieved++ })
	return w
}

// wantRefused checks that err is the refusal, and that it was counted once by that limit, and nothing else.
func (w *watched) wantRefused(t *testing.T, err error, code protocol.Code, limit string) time.Duration {
	t.Helper()
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("%s: got %v, want %s", limit, err, code)
	}
	if !slices.Equal(w.refusals, []string{limit}) {
		t.Errorf("counted as %v, want %s", w.refusals, limit)
	}
	w.refusals = nil
	return e.RetryAfter
}

func want(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
}

// wantNothingTaken checks that all was given back.
func (w *watched) wantNothingTaken(t *testing.T) {
	t.Helper()
	if got := w.Taken(); got != (Taken{}) {
		t.Errorf("still taken is %+v", got)
	}
	strangers, ofAddresses := w.places.strangers.all.Load(), w.places.byIP.sum()+w.places.strangers.byIP.sum()+w.places.strangers.byNetwork.sum()+w.requests.sum()+w.reads.sum()+w.bodies.byIP.sum()+w.bodies.strangers.sum()+w.bodies.uploads.sum()
	if strangers != 0 || ofAddresses != 0 {
		t.Errorf("still taken are %d of strangers, %d of addresses", strangers, ofAddresses)
	}
}

// What was taken before the limits became less stays, and is given back as ever.
func TestOtherLimitsCountFromThenOn(t *testing.T) {
	w := doorWith(Limits{})
	var all []*Place
	for range 3 {
		p, err := w.Attach(someone)
		want(t, err)
		want(t, p.Admit(someone.Subject))
		all = append(all, p)
	}
	w.SetLimits(Limits{AttachmentsPerIP: 2, AttachmentsPerSub: 1})
	if got := w.Limits(); got.AttachmentsPerIP != 2 || got.Frame != 256<<10 {
		t.Errorf("got %+v", got)
	}
	_, err := w.Attach(someone)
	w.wantRefused(t, err, protocol.RateLimited, "attachments_per_ip")
	w.SetLimits(Limits{AttachmentsPerIP: -1, AttachmentsPerSub: -1})
	p, err := w.Attach(someone)
	want(t, err)
	want(t, p.Admit(someone.Subject))
	for _, p := range append(all, p) {
		p.Leave()
	}
	w.wantNothingTaken(t)
}

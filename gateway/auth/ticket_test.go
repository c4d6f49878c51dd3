package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestATicketWorksOnce(t *testing.T) {
	store := &MemoryTickets{}
	here, there := &Tickets{Store: store}, &Tickets{Store: store} // two nodes
	g := &Grant{Rights: Rights{Subscribe: []string{"a.*"}}, Subject: "ann", TokenID: "t1", Issued: time.Now(), Expires: time.Now().Add(time.Hour)}
	id := issue(t, here, g)
	got, err := there.Redeem(t.Context(), id)
	if err != nil || got.Subject != "ann" || got.TokenID != "t1" || !got.MaySubscribe("a.b") || got.MayPublish("a.b") || !got.Expires.Equal(g.Expires) || !got.Issued.Equal(g.Issued) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, node := range []*Tickets{here, there} {
		mustNotRedeem(t, node, id, protocol.Unauthorized)
	}
}

// However many come at the same time, one gets in.
func TestATicketIsNotReplayedAtTheSameTime(t *testing.T) {
	tickets := &Tickets{Store: &MemoryTickets{}}
	for range 20 {
		id := issue(t, tickets, &Grant{})
		var in atomic.Int32
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if _, err := tickets.Redeem(t.Context(), id); err == nil {
					in.Add(1)
				}
			})
		}
		group.Wait()
		if n := in.Load(); n != 1 {
			t.Fatalf("%d got in with one ticket", n)
		}
	}
}

func TestATicketEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tickets := &Tickets{Store: &MemoryTickets{}}
		soon, late := issue(t, tickets, &Grant{}), issue(t, tickets, &Grant{})
		short := issue(t, tickets, &Grant{Expires: time.Now().Add(10 * time.Second)})
		time.Sleep(TicketLifetime - time.Nanosecond)
		if _, err := tickets.Redeem(t.Context(), soon); err != nil {
			t.Error(err)
		}
		mustNotRedeem(t, tickets, short, protocol.Expired)
		time.Sleep(time.Nanosecond)
		mustNotRedeem(t, tickets, late, protocol.Unauthorized)
	})
}

func TestWhatIsNoTicket(t *testing.T) {
	tickets := &Tickets{Store: &MemoryTickets{}}
	id := issue(t, tickets, &Grant{})
	for _, wrong := range []string{"", "tk_", id[:len(id)-1], id + "A", strings.ToLower(id), ticketKey(id), "tk_" + ticketKey(id), NewAPIKey(), "eyJhbGciOiJIUzI1NiJ9.e30.", "tk_" + strings.Repeat("A", 1<<20)} {
		mustNotRedeem(t, tickets, wrong, protocol.Unauthorized)
	}
	if _, err := tickets.Redeem(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestTicketsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tickets := &Tickets{Store: &MemoryTickets{}}
		for range maxTickets {
			issue(t, tickets, &Grant{})
		}
		if _, err := tickets.Issue(t.Context(), &Grant{}); err == nil || protocol.ErrorFrom(err).Code != protocol.RateLimited {
			t.Errorf("got %v, want rate_limited", err)
		}
		time.Sleep(TicketLifetime)
		issue(t, tickets, &Grant{})
	})
}

// A store may say for whatever reason that it cannot; nobody gets in then.
func TestAStoreThatFails(t *testing.T) {
	tickets := &Tickets{Store: brokenStore{}}
	if id, err := tickets.Issue(t.Context(), &Grant{}); err == nil {
		t.Errorf("got %s", id)
	}
	mustNotRedeem(t, tickets, "tk_ABC", protocol.Internal)
	mustNotRedeem(t, &Tickets{Store: brokenStore{"{}"}}, "tk_ABC", protocol.Unauthorized)
	mustNotRedeem(t, &Tickets{Store: brokenStore{"["}}, "tk_ABC", protocol.Internal)
}

type brokenStore []string

func (brokenStore) Put(context.Context, string, []byte, time.Duration) error {
	return errors.New("broken")
}

func (b brokenStore) Take(context.Context, string) ([]byte, error) {
	if len(b) == 0 {
		return nil, errors.New("broken")
	}
	return []byte(b[0]), nil
}

func issue(t *testing.T, tickets *Tickets, g *Grant) string {
	t.Helper()
	id, err := tickets.Issue(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustNotRedeem(t *testing.T, tickets *Tickets, id string, code protocol.Code) {
	t.Helper()
	g, err := tickets.Redeem(t.Context(), id)
	if err == nil || protocol.ErrorFrom(err).Code != code || len(id) > 10 && strings.Contains(fmt.Sprint(err), id[3:]) {
		t.Errorf("%.40s: got %+v, %v, want %s", id, g, err, code)
	}
}

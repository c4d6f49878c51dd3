package auth

import (
	"encoding/json"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestARevocationTakesBackWhatWasIssuedBefore(t *testing.T) {
	at := time.Unix(1000, 0)
	old := &Grant{Source: FromToken, Subject: "ann", TokenID: "t1", Issued: at}
	fresh := &Grant{Source: FromToken, Subject: "ann", TokenID: "t2", Issued: at.Add(time.Second)}
	unknown := &Grant{Source: FromToken, Subject: "ann", TokenID: "t3"}
	other := &Grant{Source: FromToken, Subject: "bob", TokenID: "t4"}
	for name, c := range map[string]struct {
		revocation Revocation
		session    string
		want       map[*Grant]bool
	}{
		"nothing":         {Revocation{}, "s1", nil},
		"a subject":       {Revocation{Subject: "ann", At: at}, "s1", map[*Grant]bool{old: true, unknown: true}},
		"a token":         {Revocation{TokenID: "t2", At: at}, "s1", map[*Grant]bool{fresh: true}},
		"a session":       {Revocation{Session: "s1", At: at}, "s1", map[*Grant]bool{old: true, unknown: true, other: true}},
		"another session": {Revocation{Session: "s1", At: at}, "s2", nil},
		"all tokens":      {Revocation{All: true, At: at}, "s1", map[*Grant]bool{old: true, unknown: true, other: true}},
		"no session":      {Revocation{Session: "s1", At: at}, "", nil},
		"a token's name":  {Revocation{TokenID: "ann", At: at}, "ann", nil},
	} {
		var s Revoked
		if c.revocation != (Revocation{}) {
			if err := s.Add(c.revocation); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range []*Grant{old, fresh, unknown, other, {}} {
			err := s.Check(g, c.session)
			want := c.want[g] || g.Subject == "" && name == "a session"
			if c.revocation != (Revocation{}) && c.revocation.Takes(g, c.session) != want {
				t.Errorf("%s, %+v: Takes says otherwise", name, g)
			}
			if (err != nil) != want || err != nil && protocol.ErrorFrom(err).Code != protocol.Unauthorized {
				t.Errorf("%s, %+v: got %v, want revoked: %v", name, g, err, want)
			}
		}
	}
	if err := (*Revoked)(nil).Check(old, "s1"); err != nil {
		t.Error(err)
	}
}

// PROTOCOL.md 4.7: who has no time of issue is not kept out for ever, of a session that others may have by then.
func TestARevocationThatIsOverTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		g := &Grant{Source: FromToken, Subject: "ann", TokenID: "t"}
		for _, r := range []Revocation{{Subject: "ann"}, {TokenID: "t"}, {Session: "s"}, {All: true}} {
			forever := r
			forever.At, r.At, r.Until = now, now, time.Now().Add(time.Hour)
			for _, c := range []struct {
				r     Revocation
				after time.Duration
				want  bool
			}{{r, time.Hour - 1, true}, {r, 1, false}, {forever, 1000 * time.Hour, true}} {
				var s Revoked
				if err := s.Add(c.r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.after)
				if err := s.Check(g, "s"); (err != nil) != c.want || c.r.Takes(g, "s") != c.want {
					t.Errorf("%+v: got %v, and that it takes it is %v: want %v", c.r, err, c.r.Takes(g, "s"), c.want)
				}
			}
		}
	})
}

// The order in which a watcher hears of them does not matter.
func TestTheLaterOfTwoRevocationsCounts(t *testing.T) {
	first := Revocation{Subject: "ann", At: time.Unix(1000, 0), Until: time.Unix(5000, 0)}
	second := Revocation{Subject: "ann", At: time.Unix(2000, 0), Until: time.Unix(4000, 0)}
	forever := Revocation{Subject: "ann", At: time.Unix(500, 0)}
	for _, order := range [][]Revocation{{first, second}, {second, first}} {
		var s Revoked
		for _, r := range order {
			if err := s.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		kept := s.kept[revocationKey{bySubject, "ann"}]
		if !kept.at.Equal(second.At) || !kept.until.Equal(first.Until) || s.Len() != 1 {
			t.Errorf("got %+v", kept)
		}
		for _, r := range []Revocation{forever, first} {
			if err := s.Add(r); err != nil {
				t.Fatal(err)
			}
			if kept := s.kept[revocationKey{bySubject, "ann"}]; !kept.at.Equal(second.At) || !kept.until.IsZero() {
				t.Errorf("got %+v", kept)
			}
		}
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	var s Revoked
	now := time.Now()
	for i := range MaxRevocations {
		until := now.Add(time.Hour)
		if i == 7 {
			until = now.Add(-time.Second)
		}
		if err := s.Add(Revocation{TokenID: strconv.Itoa(i), At: now, Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(Revocation{TokenID: "8", At: now}); err != nil {
		t.Errorf("what is kept already: %v", err)
	}
	if err := s.Add(Revocation{TokenID: "new", At: now}); err != nil || s.Len() != MaxRevocations {
		t.Errorf("in the place of one that has ended: %v, %d are kept", err, s.Len())
	}
	if err := s.Add(Revocation{TokenID: "newer", At: now}); err == nil || protocol.ErrorFrom(err).Code != protocol.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if s.Check(&Grant{TokenID: "7"}, "") != nil || s.Check(&Grant{TokenID: "9"}, "") == nil {
		t.Error("another than the one that had ended is forgotten")
	}
}

func TestRevocationsThatAreNone(t *testing.T) {
	now := time.Now()
	var s Revoked
	for _, r := range []Revocation{
		{}, {At: now}, {Subject: "a"}, {Subject: "a", TokenID: "b", At: now}, {Subject: "a", Session: "b", At: now}, {Subject: "a", All: true, At: now}, {All: true}, {Subject: "a\n", At: now}, {Session: "a b", At: now},
	} {
		if err := s.Add(r); err == nil || protocol.ErrorFrom(err).Code != protocol.BadRequest {
			t.Errorf("%+v: got %v", r, err)
		}
	}
	if s.Len() != 0 {
		t.Errorf("%d are kept", s.Len())
	}
}

func TestARevocationTravelsAsJSON(t *testing.T) {
	for _, r := range []Revocation{{Subject: "ann", At: time.Unix(1, 0).UTC(), Until: time.Unix(2, 0).UTC()}, {Session: "s", At: time.Unix(1, 5).UTC()}} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got Revocation
		if err := json.Unmarshal(b, &got); err != nil || got != r {
			t.Errorf("%s: got %+v, %v", b, got, err)
		}
	}
}

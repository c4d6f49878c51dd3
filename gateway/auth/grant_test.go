package auth

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestAPatternIsGrantedOnlyIfEachOfItsChannelsIs(t *testing.T) {
	for _, c := range []struct {
		granted, pattern string // granted: separated by spaces
		want             bool
	}{
		{"", "a", false},
		{"chat.42", "chat.42", true},
		{"chat.42", "chat.43", false},
		{"chat.42", "chat.*", false},
		{"chat.*", "chat.42", true},
		{"chat.*", "chat.*", true},
		{"chat.*", "chat.>", false},
		{"chat.*", "chat.42.x", false},
		{"chat.*", "chat", false},
		{"chat.*", "*.42", false},
		{"chat.*", ">", false},
		{"chat.*", "*", false},
		{"chat.>", "chat.42.x", true},
		{"chat.>", "chat.*.>", true},
		{"chat.>", "chat", false},
		{"chat.>", ">", false},
		{"*.42", "chat.42", true},
		{"*.42", "*.*", false},
		{">", ">", true},
		{">", "*.*.x", true},
		{"*", ">", false},
		{"* *.>", ">", true},
		{"* *.* *.*.>", ">", true},
		{"* *.*.>", ">", false},
		{"a.* a.*.>", "a.>", true},
		{"a.* a.*.>", ">", false},
		{"a.b a.>", "a.>", true},
		{"a.* b.*", "*.*", false},
		{"a.* a.b.>", "a.>", false},
	} {
		g := &Grant{Rights: Rights{Subscribe: strings.Fields(c.granted)}}
		if got := g.MaySubscribe(c.pattern); got != c.want {
			t.Errorf("a grant of %q, a subscription to %q: got %v, want %v", c.granted, c.pattern, got, c.want)
		}
		if g.MayPublish(c.pattern) || g.MaySeePresence(c.pattern) {
			t.Errorf("a grant to subscribe to %q allows more than that", c.granted)
		}
	}
}

// All lengths up to the longest name are looked at, and nothing is beyond it.
func TestTheLongestNamesCountToo(t *testing.T) {
	stars := strings.Split(strings.Repeat("*,", protocol.MaxNameTokens-1)+"*", ",")
	var every []string
	for n := range stars {
		every = append(every, strings.Join(stars[:n+1], "."))
	}
	if !(&Grant{Rights: Rights{Publish: every}}).MayPublish(">") {
		t.Error("every number of tokens is granted, and > is not")
	}
	if (&Grant{Rights: Rights{Publish: every[:len(every)-1]}}).MayPublish(">") {
		t.Error("the longest names are not granted, and > is")
	}
}

func TestGrantsAndPatternsAgreeWithTheVectors(t *testing.T) {
	b, err := os.ReadFile("../../testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Matches [][3]any }
	if err := json.Unmarshal(b, &v); err != nil || len(v.Matches) == 0 {
		t.Fatalf("got %d vectors, %v", len(v.Matches), err)
	}
	for _, m := range v.Matches {
		g := &Grant{Rights: Rights{Publish: []string{m[0].(string)}, Presence: []string{m[0].(string)}}}
		if channel := m[1].(string); g.MayPublish(channel) != m[2] || g.MaySeePresence(channel) != m[2] || g.MaySubscribe(channel) {
			t.Errorf("%s, %s: want %v", m[0], m[1], m[2])
		}
	}
}

func TestNoGrantAllowsNothing(t *testing.T) {
	for _, g := range []*Grant{nil, {}} {
		if g.MaySubscribe("a") || g.MayPublish("a") || g.MaySeePresence("a") {
			t.Errorf("%v allows something", g)
		}
	}
}

func TestRightsAreBounded(t *testing.T) {
	many := strings.Fields(strings.Repeat("a ", MaxPatterns+1))
	for _, r := range []Rights{{Subscribe: many}, {Publish: many}, {Presence: many}, {Publish: []string{"a", "a..b"}}, {Presence: []string{""}}} {
		if r.Check() == nil {
			t.Errorf("%+v is allowed", r)
		}
	}
	if err := (Rights{Subscribe: many[1:]}).Check(); err != nil {
		t.Error(err)
	}
	if err := Everything().Check(); err != nil {
		t.Error(err)
	}
}

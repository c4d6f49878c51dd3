package fairlead

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func id(t *testing.T, s string) protocol.ID {
	t.Helper()
	id, err := protocol.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func cursor(t *testing.T, s string) protocol.Cursor {
	t.Helper()
	c, err := protocol.ParseCursor(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPatternsMatchAsTheVectorsSay(t *testing.T) {
	var vectors struct{ Matches [][3]any }
	b, err := os.ReadFile("../../testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors.Matches {
		if got := matches(v[0].(string), v[1].(string)); got != v[2].(bool) {
			t.Errorf("matches(%q, %q) is %v", v[0], v[1], got)
		}
	}
	if len(vectors.Matches) == 0 {
		t.Error("there are no vectors")
	}
}

// TestCursorsMoveByTheRules plays frames against the cursor of one subscription.
func TestCursorsMoveByTheRules(t *testing.T) {
	for _, c := range []struct {
		name, from string
		messages   []string
		want       []bool
		end        string
	}{
		{"in order", "a-1", []string{"a-2", "a-5"}, []bool{true, true}, "a-5"},
		{"again", "a-1", []string{"a-2", "a-2", "a-1"}, []bool{true, false, false}, "a-2"},
		{"from the beginning", "0", []string{"a-1", "a-2"}, []bool{true, true}, "a-2"},
		{"of another log, which no gap announced", "a-1", []string{"b-9"}, []bool{false}, "a-1"},
		{"one of several streams", "a-5,b-9", []string{"b-9", "b-10"}, []bool{false, true}, "b-10"},
	} {
		p := newPlaces(map[string]protocol.Start{"chat.*": {}})
		p["chat.*"].after = cursor(t, c.from)
		v, _ := p.view()
		for i, m := range c.messages {
			got, err := p.message(v, &Message{ID: id(t, m), Channel: "chat.1"})
			if got != c.want[i] || (err != nil) != (m == "b-9" && c.from == "a-1") {
				t.Errorf("%s: %s is delivered: %v, %v", c.name, m, got, err)
			}
		}
		if got := p["chat.*"].after.String(); got != c.end {
			t.Errorf("%s: the cursor is %s, want %s", c.name, got, c.end)
		}
	}
}

func TestAMessageIsDeliveredOnceThoughSeveralSubscriptionsMatch(t *testing.T) {
	p := newPlaces(map[string]protocol.Start{"chat.*": {}, "chat.1": {}, "news": {}})
	p["chat.*"].after, p["chat.1"].after, p["news"].after = cursor(t, "a-100"), cursor(t, "a-1"), cursor(t, "a-1")
	v, _ := p.view()
	for _, step := range []struct {
		id   string
		want bool
	}{{"a-50", true}, {"a-50", false}, {"a-101", true}, {"a-101", false}} {
		if got, err := p.message(v, &Message{ID: id(t, step.id), Channel: "chat.1"}); got != step.want || err != nil {
			t.Errorf("%s is delivered: %v, %v", step.id, got, err)
		}
	}
	if got := p["news"].after.String(); got != "a-1" {
		t.Errorf("another channel's cursor is %s", got)
	}
}

func TestBeatsMoveCursorsUpAndGapsMoveThemAnywhere(t *testing.T) {
	p := newPlaces(map[string]protocol.Start{"chat.1": {}})
	v, _ := p.view()
	p.beat(v, id(t, "a-9"))
	if p["chat.1"].after != nil {
		t.Error("a beat before the welcome made a cursor: what came in between would be lost")
	}
	p.welcome(v, map[string]protocol.After{"chat.1": {After: cursor(t, "a-5")}, "else": {}})
	want := func(s string) {
		t.Helper()
		if got := p["chat.1"].after.String(); got != s {
			t.Errorf("the cursor is %s, want %s", got, s)
		}
	}
	want("a-5")
	p.welcome(v, map[string]protocol.After{"chat.1": {After: cursor(t, "a-7")}})
	want("a-5") // the one that is known is the client's
	p.beat(v, id(t, "a-4"))
	want("a-5")
	p.beat(v, id(t, "a-8"))
	want("a-8")
	if tell, _ := p.gap(v, &protocol.Gap{Channel: "chat.1", From: cursor(t, "a-5"), To: id(t, "b-2")}); !tell {
		t.Error("the gap is nobody's")
	}
	want("b-2")
	if tell, _ := p.gap(v, &protocol.Gap{Channel: "chat.2", To: id(t, "b-3")}); tell {
		t.Error("a gap of another channel is taken for ours")
	}
	want("b-2")
	_, starts := p.view()
	if start := starts["chat.1"]; start.After == nil || start.After.String() != "b-2" || start.Last != 0 {
		t.Errorf("goes on from %+v", start)
	}
}

func TestAPurgeMovesTheCursorsThatMatchForwardAndIsToldOnce(t *testing.T) {
	p := newPlaces(map[string]protocol.Start{"chat.*": {}, "chat.1": {}, "chat.2": {}})
	p["chat.*"].after, p["chat.1"].after, p["chat.2"].after = cursor(t, "a-5"), cursor(t, "a-9"), cursor(t, "a-1")
	purge := &protocol.Gap{Channel: "chat.1", From: protocol.Cursor{}, To: id(t, "a-7"), Reason: protocol.GapPurged}
	for i, want := range []bool{true, false, false} {
		v, _ := p.view() // attached again
		if got, _ := p.gap(v, purge); got != want {
			t.Errorf("time %d: it is told: %v", i+1, got)
		}
	}
	for pattern, want := range map[string]string{"chat.*": "a-7", "chat.1": "a-9", "chat.2": "a-1"} {
		if got := p[pattern].after.String(); got != want {
			t.Errorf("the cursor of %s is %s, want %s", pattern, got, want)
		}
	}
}

func TestAGapMovesACursorBackOnlyFromWhereTheAttachmentBegan(t *testing.T) {
	for _, c := range []struct {
		began, now, from, to string
		told                 bool
	}{
		{"a-99", "a-99", "a-99", "a-3", true},
		{"a-3", "a-5", "a-99", "a-3", false}, // told by the attachment before
		{"a-3", "a-5", "a-99", "b-0", false},
		{"a-3", "a-5", "a-3", "b-0", true},
		{"a-3", "a-5", "a-4", "a-9", true},
	} {
		p := newPlaces(map[string]protocol.Start{"chat.*": {}})
		p["chat.*"].after = cursor(t, c.began)
		v, _ := p.view()
		p["chat.*"].after = cursor(t, c.now)
		got, _ := p.gap(v, &protocol.Gap{Channel: "chat.*", From: cursor(t, c.from), To: id(t, c.to), Reason: protocol.GapAhead})
		want := c.now
		if c.told {
			want = c.to
		}
		if after := p["chat.*"].after.String(); got != c.told || after != want {
			t.Errorf("%+v: told: %v, and the cursor is %s", c, got, after)
		}
	}
}

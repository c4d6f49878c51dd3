package fairlead

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestAnAttachmentThatBeganFurtherOnIsNotUsedUntilTheCursorIsThere(t *testing.T) {
	p := newPlaces(map[string]protocol.Start{"chat.1": {}}) // from now, asked twice: each has a now of its own
	first, _ := p.view()
	second, _ := p.view()
	p.welcome(first, map[string]protocol.After{"chat.1": {After: cursor(t, "a-5")}})
	p.welcome(second, map[string]protocol.After{"chat.1": {After: cursor(t, "a-7")}})
	if !first.isWhole(p) || second.isWhole(p) {
		t.Errorf("the first is whole: %v, the second: %v", first.isWhole(p), second.isWhole(p))
	}
	message := func(v view, s string) (bool, error) {
		return p.message(v, &Message{ID: id(t, s), Channel: "chat.1"})
	}
	if got, err := message(second, "a-8"); got || !errors.Is(err, errStale) {
		t.Errorf("a message after a hole: delivered: %v, %v", got, err)
	}
	p.beat(second, id(t, "a-8"))
	for _, s := range []string{"a-6", "a-7"} {
		if got, err := message(first, s); !got || err != nil {
			t.Errorf("%s: delivered: %v, %v", s, got, err)
		}
	}
	if got, err := message(second, "a-9"); got || err == nil { // a-8 was not used
		t.Errorf("after what was skipped: delivered: %v, %v", got, err)
	}
	for _, s := range []string{"a-8", "a-9"} {
		if got, _ := message(first, s); !got {
			t.Errorf("%s is not delivered", s)
		}
	}
	if got, err := message(second, "a-10"); !got || err != nil {
		t.Errorf("a-10: delivered: %v, %v", got, err)
	}
}

func TestAGapOfTwoAttachmentsIsToldOnceAndRepeatsNothing(t *testing.T) {
	p := newPlaces(map[string]protocol.Start{"chat.1": {After: &protocol.Cursor{id(t, "a-99")}}})
	first, _ := p.view()
	second, _ := p.view()
	gap := &protocol.Gap{Channel: "chat.1", From: cursor(t, "a-99"), To: id(t, "a-3"), Reason: protocol.GapAhead}
	if tell, err := p.gap(first, gap); !tell || err != nil {
		t.Fatalf("told: %v, %v", tell, err)
	}
	for _, s := range []string{"a-4", "a-5"} {
		if got, _ := p.message(first, &Message{ID: id(t, s), Channel: "chat.1"}); !got {
			t.Errorf("%s is not delivered", s)
		}
	}
	if tell, err := p.gap(second, gap); tell || err != nil {
		t.Errorf("the second time: told: %v, %v", tell, err)
	}
	for s, want := range map[string]bool{"a-4": false, "a-5": false} {
		if got, err := p.message(second, &Message{ID: id(t, s), Channel: "chat.1"}); got != want || err != nil {
			t.Errorf("%s by the second: delivered: %v, %v", s, got, err)
		}
	}
	if got, _ := p.message(second, &Message{ID: id(t, "a-6"), Channel: "chat.1"}); !got || !second.isWhole(p) {
		t.Error("the second does not go on where the first was")
	}
}

// TestEachMessageOnceInOrderHoweverAttachmentsInterleave plays attachments
// that begin and end at random, each of which shows the log from where it began.
func TestEachMessageOnceInOrderHoweverAttachmentsInterleave(t *testing.T) {
	for seed := range uint64(2000) {
		dice := rand.New(rand.NewPCG(seed, 1))
		p := newPlaces(map[string]protocol.Start{"chat.*": {}, "chat.1": {}})
		type one struct {
			view view
			at   uint64 // what it has shown; 0: not welcomed yet
		}
		var all []*one
		end, first, want := uint64(10), uint64(0), uint64(0)
		for range 300 {
			end += dice.Uint64N(2)
			if len(all) == 0 || dice.IntN(20) == 0 && len(all) < 3 {
				v, _ := p.view()
				all = append(all, &one{view: v})
			}
			i := dice.IntN(len(all))
			a := all[i]
			stale := false
			switch {
			case dice.IntN(30) == 0:
				stale = true // it dies
			case a.at == 0:
				a.at = end
				if from := a.view["chat.1"].from; from != nil {
					a.at = from[0].Seq
				}
				at := protocol.After{After: protocol.Cursor{{Epoch: "a", Seq: a.at}}}
				p.welcome(a.view, map[string]protocol.After{"chat.*": at, "chat.1": at})
				if first == 0 {
					first, want = a.at, a.at
				}
				stale = !a.view.isWhole(p)
			case a.at < end:
				a.at++
				got, err := p.message(a.view, &Message{ID: protocol.ID{Epoch: "a", Seq: a.at}, Channel: "chat.1"})
				if got {
					if want++; a.at != want {
						t.Fatalf("seed %d: got %d, want %d", seed, a.at, want)
					}
				}
				stale = err != nil
			default:
				p.beat(a.view, protocol.ID{Epoch: "a", Seq: end})
				want = max(want, end)
			}
			if stale {
				all = append(all[:i], all[i+1:]...)
			}
		}
		if want < first+20 {
			t.Fatalf("seed %d: from %d only to %d of %d", seed, first, want, end)
		}
	}
}

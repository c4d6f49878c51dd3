package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// Relief is asked for at once, and then not more often than can do any good.
func TestReliefIsAskedForOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := doorWith(Limits{Pending: 100, WriteStall: time.Minute})
		w.Share(local).Hold(100)
		want(t, w.Room())
		if w.relieved != 0 || w.pressed() || w.Stall() != time.Minute {
			t.Fatalf("with as much as may be: relieved %d times, pressed: %v, stall %v", w.relieved, w.pressed(), w.Stall())
		}
		w.Share(local).Hold(1)
		if w.relieved != 1 {
			t.Errorf("at the first byte more: relieved %d times", w.relieved)
		}
		for range 3 {
			if wait := w.wantRefused(t, w.Room(), protocol.Unavailable, "pending"); wait != PressedStall {
				t.Errorf("asks for %v", wait)
			}
			w.Share(local).Hold(1)
		}
		if w.relieved != 1 || !w.pressed() || w.Stall() != PressedStall {
			t.Errorf("with more: relieved %d times, pressed: %v, stall %v", w.relieved, w.pressed(), w.Stall())
		}
		time.Sleep(time.Second)
		_ = w.Room()
		if w.relieved != 2 {
			t.Errorf("a second later: relieved %d times", w.relieved)
		}
		w.SetLimits(Limits{Pending: 100, WriteStall: time.Second})
		if w.Stall() != time.Second {
			t.Errorf("a stall that is short anyway is %v", w.Stall())
		}
		w.Share(local).LetGo(104)
		w.wantNothingTaken(t)
	})
}

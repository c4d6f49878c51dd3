package fairlead

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// randomWay is anything that a network may do to a transport.
func randomWay(dice *rand.Rand) way {
	after := time.Duration(dice.Int64N(int64(400 * time.Millisecond)))
	switch dice.IntN(9) {
	case 0:
		return hanging
	case 1:
		return way{err: &StatusError{Status: 403}, after: after}
	case 2:
		return way{err: &StatusError{Status: 502}, after: after}
	case 3:
		return way{mute: true, after: after}
	case 4:
		return way{after: after, life: time.Duration(dice.Int64N(int64(time.Minute)))}
	case 5:
		return way{after: after, life: time.Duration(dice.Int64N(int64(time.Minute))), silent: true}
	case 6:
		return way{after: after, away: time.Duration(dice.Int64N(int64(10 * time.Second)))}
	case 7:
		return way{err: &protocol.Error{Code: protocol.Unavailable, RetryAfter: time.Duration(dice.IntN(3)) * time.Second}, after: after}
	default:
		return way{after: after}
	}
}

// TestTheLinkKeepsItsPromisesInEveryWorld lets networks change at random, and
// leaves them in the end with some transport that works: the link must settle
// on it in time, and on the best one at last. What must always hold, the world checks.
func TestTheLinkKeepsItsPromisesInEveryWorld(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 500
	}
	for seed := range seeds {
		dice := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, seed, randomWay(dice), randomWay(dice), randomWay(dice))
		w.start(recollection{})
		for range dice.IntN(8) {
			w.run(time.Duration(dice.Int64N(int64(90 * time.Second))))
			switch dice.IntN(4) {
			case 0:
				w.leave(dice.IntN(2) == 0)
			case 1:
				w.comeBack()
			default:
				for _, t := range ladder {
					w.ways[t] = randomWay(dice)
				}
			}
		}
		best := dice.IntN(len(ladder))
		for i, t := range ladder {
			w.ways[t] = []way{hanging, denied, muted}[dice.IntN(3)]
			if i == best {
				w.ways[t] = good
			}
		}
		w.comeBack()
		clear(w.alive) // whatever there was is dead
		w.run(worldBeat*3/2 + defaults.asked/4)
		if got := w.serving(); got != ladder[best] {
			w.fail("%q serves, want %s", got, ladder[best])
		}
		w.run(10 * time.Minute)
		opens := len(w.opened)
		w.run(time.Hour)
		if got := w.serving(); got != ladder[best] || len(w.opened)-opens > 12 {
			w.fail("%q serves, want %s; %d attempts in an hour", got, ladder[best], len(w.opened)-opens)
		}
		for _, t := range ladder {
			w.ways[t] = good
		}
		w.run(time.Hour + time.Minute)
		if got := w.serving(); got != protocol.WebSocket {
			w.fail("%q serves in the end", got)
		}
	}
}

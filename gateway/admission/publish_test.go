package admission

import (
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestAFanoutIsCountedAsOftenAsItIsStored(t *testing.T) {
	w := doorWith(Limits{Fanout: 1000})
	want(t, w.Fanout(100, 10))
	w.wantRefused(t, w.Fanout(101, 10), protocol.TooLarge, "fanout")
	w.wantRefused(t, w.Fanout(1<<62, 1<<20), protocol.TooLarge, "fanout")
	want(t, doorWith(Limits{Fanout: -1}).Fanout(1<<62, 1<<20))
}

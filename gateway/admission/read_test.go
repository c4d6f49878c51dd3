package admission

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestReadsOfAnAddressAreLimited(t *testing.T) {
	w := doorWith(Limits{ReadsPerIP: 1})
	done, err := w.Read(someone)
	want(t, err)
	_, err = w.Read(someone)
	if wait := w.wantRefused(t, err, protocol.RateLimited, "reads_per_ip"); wait != time.Second {
		t.Errorf("asks for %v", wait)
	}
	for _, c := range []Client{another, local, local} {
		other, err := w.Read(c)
		want(t, err)
		other()
	}
	done()
	done, err = w.Read(someone)
	want(t, err)
	done()
	w.wantNothingTaken(t)
}

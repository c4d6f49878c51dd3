package gateway

import (
	"sync"
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
)

// answers are the answers to requests that are being written. Attachments
// have their own writers.
type answers struct {
	mu  sync.Mutex // guards the following
	now map[*responseSink]*admission.Answer
}

func newAnswers() *answers { return &answers{now: make(map[*responseSink]*admission.Answer)} }

// begin notes what is about to be written, and what is held for it; nil for what
// only a drain cuts off. The caller calls end.
func (a *answers) begin(to *responseSink, held *admission.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now[to] = held
}

// end forgets it: from then on it is not cut off.
func (a *answers) end(to *responseSink) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.now, to)
}

// cutStuck cuts off those of clients that have taken nothing since before, all
// of them or the ones that are over their share, and returns how many there were.
func (a *answers) cutStuck(before time.Time, all bool) (cut int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for to, held := range a.now {
		if (all || held != nil && held.Over()) && to.cutIfStuck(before) {
			cut++
		}
	}
	return cut
}

package broker

import (
	"context"
	"slices"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// reachTimeout is how long a page waits for this node to follow what it must
// hold. As a rule that is a fraction of a millisecond behind.
const reachTimeout = time.Second

// acknowledge notes that somebody is told of a sequence. From here on it is
// before "now", and pages go as far.
func (b *Broker) acknowledge(seq uint64) {
	for {
		known := b.acked.Load()
		if seq <= known || b.acked.CompareAndSwap(known, seq) {
			return
		}
	}
}

// reach waits until this node has followed its log as far as a page of that
// range must, and so has it in the tail: whoever was told of an id finds it.
// It fails with an error for the client.
func (b *Broker) reach(ctx context.Context, who Client, r protocol.Range) error {
	seq, err := b.needed(ctx, r)
	if err != nil {
		return err
	}
	came := b.tail.await(seq)
	if came == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	select {
	case <-came:
		return nil
	case <-waiting.Done():
	}
	b.tail.giveUp(came)
	switch {
	case b.stale.Load():
		return errStale()
	case b.removed(ctx, who):
		return nil
	default:
		return errBehind().Because(context.Cause(waiting))
	}
}

// needed is up to where a page of that range depends on the log: what this node
// has acknowledged, or where the range ends or begins. A cursor that is ahead of
// all that this node knows comes from another one, where more may have been
// acknowledged: then the log is asked for its end.
func (b *Broker) needed(ctx context.Context, r protocol.Range) (uint64, error) {
	seq := b.acked.Load()
	switch {
	case r.Before != nil:
		before, _ := r.Before.In(b.Epoch())
		seq = max(before, 1) - 1
	case r.After != nil:
		after, _ := r.After.In(b.Epoch())
		seq = max(seq, after)
	}
	if seq <= b.Head().Seq {
		return seq, nil
	}
	state, err := b.state(ctx)
	if err != nil {
		return 0, errUnreachable().Because(err)
	}
	return state.LastSeq, nil
}

// removed tells whether what a page waits for is not in the log any more: an
// operator may have deleted it before it came.
func (b *Broker) removed(ctx context.Context, who Client) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	release, err := b.catchUps.slot(ctx, who)
	if err != nil {
		return false
	}
	defer release()
	b.tail.mu.RLock()
	head := b.tail.head
	b.tail.mu.RUnlock()
	n, err := b.count(ctx, ">", head+1)
	return err == nil && n == 0
}

func errBehind() *protocol.Error {
	e := protocol.Errorf(protocol.Unavailable, "this node has still to follow the log up to what the page must hold: retry")
	e.RetryAfter = time.Second
	return e
}

// A milestone is a sequence that somebody waits for the tail to reach.
type milestone struct {
	seq  uint64
	came chan struct{} // closed when it has
}

// await returns what is closed when the head has come to seq, or nil if it has.
// Who does not wait for it any longer must give it up.
func (t *tail) await(seq uint64) <-chan struct{} {
	t.mu.RLock()
	there := t.head >= seq
	t.mu.RUnlock()
	if there {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head >= seq {
		return nil
	}
	m := milestone{seq, make(chan struct{})}
	t.milestones = append(t.milestones, m)
	return m.came
}

func (t *tail) giveUp(came <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.milestones = slices.DeleteFunc(t.milestones, func(m milestone) bool { return m.came == came })
}

// advance moves the head. The caller holds mu.
func (t *tail) advance(seq uint64) {
	t.head = seq
	if len(t.milestones) == 0 {
		return
	}
	t.milestones = slices.DeleteFunc(t.milestones, func(m milestone) bool {
		if m.seq > seq {
			return false
		}
		close(m.came)
		return true
	})
}

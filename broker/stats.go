package broker

import (
	"sync/atomic"

	"github.com/fairlead/fairlead/protocol"
)

// Stats count what the broker did since it was opened.
type Stats struct {
	fromTail, fromLog                    atomic.Uint64
	behind                               atomic.Uint64
	retention, purged, replaced, ahead   atomic.Uint64
	published, duplicates, publishErrors atomic.Uint64
	unreadable                           atomic.Uint64
}

// Snapshot is Stats at one time, with the tail's size.
type Snapshot struct {
	CatchUpsFromTail, CatchUpsFromLog    uint64
	Behind                               uint64            // readers that the tail moved past
	Gaps                                 map[string]uint64 // by reason
	Published, Duplicates, PublishErrors uint64
	DiskRefusals                         uint64
	Unreadable                           uint64 // messages below the prefix that are none of a channel
	TailMessages, TailBytes              int
	Channels                             int // with messages in the tail, or followed
	Head                                 uint64
	Waiting                              int // readers that wait for their turn to have the stored log read
	WaitingClients                       int // how many take turns there; without those that have as many reads as they may
	WaitingHistory                       int // reads of history, or of where the last messages begin, that wait for their turn
	Reading                              int // reads of the stored log that are under way, of all kinds
}

// Stats takes a snapshot.
func (b *Broker) Stats() Snapshot {
	s := &b.stats
	snapshot := Snapshot{
		CatchUpsFromTail: s.fromTail.Load(),
		CatchUpsFromLog:  s.fromLog.Load(),
		Behind:           s.behind.Load(),
		Gaps: map[string]uint64{
			protocol.GapRetention: s.retention.Load(),
			protocol.GapPurged:    s.purged.Load(),
			protocol.GapReplaced:  s.replaced.Load(),
			protocol.GapAhead:     s.ahead.Load(),
		},
		Published:     s.published.Load(),
		Duplicates:    s.duplicates.Load(),
		PublishErrors: s.publishErrors.Load(),
		Unreadable:    s.unreadable.Load(),
	}
	if b.disk != nil {
		snapshot.DiskRefusals = b.disk.refused.Load()
	}
	t := b.tail
	t.mu.RLock()
	snapshot.TailMessages, snapshot.TailBytes, snapshot.Channels, snapshot.Head = len(t.all.entries), t.bytes, len(t.channels), t.head
	t.mu.RUnlock()
	var reading int
	snapshot.Waiting, snapshot.WaitingClients, snapshot.Reading = b.catchUps.readers.counts()
	snapshot.WaitingHistory, _, reading = b.catchUps.callers.counts()
	snapshot.Reading += reading
	return snapshot
}

func (s *Stats) gap(reason string) {
	switch reason {
	case protocol.GapRetention:
		s.retention.Add(1)
	case protocol.GapPurged:
		s.purged.Add(1)
	case protocol.GapReplaced:
		s.replaced.Add(1)
	case protocol.GapAhead:
		s.ahead.Add(1)
	}
}

package gateway

import (
	"runtime"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// footprint is what a gateway takes up while nothing is under way but what is attached.
type footprint struct {
	heap, goroutines int // of the whole process, with its log
	places, pending  int // that are taken; bytes that wait to be written
	attachments      map[string]float64
}

// What an attack may leave behind: what the log, pools and caches keep.
const (
	heapSlack      = 1 << 20
	goroutineSlack = 2
	pendingSlack   = 64 // a beat of who is attached
)

// footprint is that of now. For use in a bubble: what is about to end does so first.
func (w *world) footprint() footprint {
	w.t.Helper()
	w.client.CloseIdleConnections()
	time.Sleep(time.Second) // net/http lingers
	synctest.Wait()
	runtime.GC() // pools are emptied by the second collection
	taken := w.g.door.Taken()
	f := footprint{
		heap:        heap(),
		goroutines:  runtime.NumGoroutine(),
		places:      taken.Places,
		pending:     taken.Pending,
		attachments: map[string]float64{},
	}
	families, err := w.g.metrics.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "fairlead_attachments" {
			continue
		}
		for _, m := range family.GetMetric() {
			f.attachments[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return f
}

// wantFootprint checks that the gateway takes up about as much as before.
func (w *world) wantFootprint(before footprint) {
	w.t.Helper()
	now := w.footprint()
	if now.heap > before.heap+heapSlack {
		w.t.Errorf("the heap was %d KiB and is %d KiB", before.heap>>10, now.heap>>10)
	}
	if now.goroutines > before.goroutines+goroutineSlack {
		stacks := make([]byte, 1<<20)
		w.t.Errorf("there were %d goroutines and are %d:\n%s", before.goroutines, now.goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	if now.places != before.places || now.pending > before.pending+pendingSlack {
		w.t.Errorf("%d places were taken and %d bytes waited; now %d and %d", before.places, before.pending, now.places, now.pending)
	}
	for _, transport := range protocol.Transports() {
		if name := string(transport); now.attachments[name] != before.attachments[name] {
			w.t.Errorf("%s: %v were attached, and are %v", name, before.attachments[name], now.attachments[name])
		}
	}
}

// withstands carries out an attack while l is attached, and checks that l is
// served as before it, and that it has left nothing behind.
func (l *link) withstands(attack func()) {
	l.w.t.Helper()
	l.wantServed() // what the first of everything costs is not the attack's
	before := l.w.footprint()
	attack()
	// The timers of a pipe's deadlines hold it until they are due, though it is closed.
	for passed := time.Duration(0); passed <= l.w.g.limits().WriteStall; passed += time.Minute {
		l.wantServed()
		time.Sleep(time.Minute)
	}
	l.wantServed()
	l.w.wantFootprint(before)
}

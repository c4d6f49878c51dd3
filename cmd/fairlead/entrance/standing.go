package entrance

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// standing counts the connections that were ended because their clients let
// them stand still, as far as http.Server tells: not those whose second or a
// later request began and did not go on.
type standing struct{ headerWait, idle atomic.Uint64 }

// A still is what a connection has been since when.
type still struct {
	state http.ConnState
	since time.Time
}

// watch is the ConnState of a server with these limits.
func (s *standing) watch(headerWait, idle time.Duration) func(net.Conn, http.ConnState) {
	var stills sync.Map // by net.Conn; none that serves a request
	return func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew || state == http.StateIdle {
			stills.Store(conn, still{state, time.Now()})
			return
		}
		was, found := stills.LoadAndDelete(conn)
		if !found {
			return
		}
		switch was := was.(still); {
		case was.state == http.StateNew && time.Since(was.since) >= headerWait:
			s.headerWait.Add(1) // one that was ended becomes active before, if anything came
		case was.state == http.StateIdle && time.Since(was.since) >= idle:
			s.idle.Add(1)
		}
	}
}

package entrance

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestConnectionsThatStandStillAreCounted by what they were waited for; and
// nothing else that ends, such as with its client, is.
func TestConnectionsThatStandStillAreCounted(t *testing.T) {
	const wait, idle = 10 * time.Second, time.Minute
	for name, c := range map[string]struct {
		do               func(conn net.Conn)
		headerWait, idle uint64
	}{
		"nothing comes":             {func(net.Conn) { time.Sleep(wait + time.Second) }, 1, 0},
		"half a header":             {func(conn net.Conn) { write(t, conn, "GET / HTTP/1.1\r\nHo"); time.Sleep(wait + time.Second) }, 1, 0},
		"a client that leaves":      {func(net.Conn) { time.Sleep(wait - time.Nanosecond) }, 0, 0},
		"a header in time":          {func(conn net.Conn) { time.Sleep(wait - time.Second); wantAnswer(t, conn, 0) }, 0, 0},
		"nothing more":              {func(conn net.Conn) { wantAnswer(t, conn, 0); time.Sleep(idle + time.Second) }, 0, 1},
		"another request":           {func(conn net.Conn) { wantAnswer(t, conn, 0); time.Sleep(idle - time.Second); wantAnswer(t, conn, 0) }, 0, 0},
		"one that leaves when idle": {func(conn net.Conn) { wantAnswer(t, conn, 0); time.Sleep(idle - time.Nanosecond) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, in := piped(t, Options{HeaderWait: wait, Idle: idle})
				serving(t, e, whence)
				conn := in.dial()
				c.do(conn)
				_ = conn.Close()
				synctest.Wait()
				if headers, idles := e.standing.headerWait.Load(), e.standing.idle.Load(); headers != c.headerWait || idles != c.idle {
					t.Errorf("counted for their headers %d, as idle %d; want %d and %d", headers, idles, c.headerWait, c.idle)
				}
			})
		})
	}
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}

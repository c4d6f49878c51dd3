package main

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestNoClientMakesADeployLookFailed ends the process while a client does not
// finish, or takes nothing, or so little that it would last for minutes.
func TestNoClientMakesADeployLookFailed(t *testing.T) {
	const stream = "GET /v1/attach?channel=load.flow&after=0 HTTP/1.1\r\nHost: gateway.localhost\r\nAccept: text/event-stream\r\n\r\n"
	for name, c := range map[string]struct {
		says  string
		takes int64 // bytes, once a second
		most  time.Duration
		warns bool
	}{
		"a body that does not end":            {"POST /v1/attach HTTP/1.1\r\nHost: gateway.localhost\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n{", 1 << 10, closeGrace / 2, false},
		"a stream that is not taken":          {stream, 0, closeGrace, false},
		"a stream that is taken in a trickle": {stream, 512 << 10, 2 * closeGrace, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			s := newSite(t, "--data", t.TempDir())
			client := clientBy(t, s.dial)
			body := "[" + strings.Repeat(`{"data":"`+strings.Repeat("x", 50<<10)+`"},`, 19) + `{"data":1}]`
			for i := 0; i < 20 && c.says == stream; i++ {
				if err := call(ctx, client, "channels/load.flow/messages", "application/json", body, new(receipt)); err != nil {
					t.Fatal(err)
				}
			}
			took, status := s.leave(ctx, t, c.says, c.takes)
			if status != 0 || took > c.most {
				t.Errorf("the status is %d after %v, want 0 after %v at most", status, took, c.most)
			}
			if log := s.process.stderr.String(); strings.Contains(log, "cut off") != c.warns || c.warns && !strings.Contains(log, "connections=1 ") {
				t.Errorf("the log is %s", log)
			}
		})
	}
}

// leave stops the process while a client that has said something, and got the
// first byte of an answer, takes so much a second.
func (s *site) leave(ctx context.Context, t *testing.T, says string, takes int64) (took time.Duration, status int) {
	conn, err := s.dial(ctx, "tcp", "")
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	}
	if err == nil {
		_, err = io.WriteString(conn, says)
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-ended
	}()
	go func() {
		defer close(ended)
		for takes > 0 {
			if _, err := io.CopyN(io.Discard, conn, takes); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}()
	began := time.Now()
	status = s.stop()
	return time.Since(began), status
}

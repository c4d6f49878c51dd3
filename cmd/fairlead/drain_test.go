package main

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// TestNoClientMakesADeployLookFailed ends the process while a client does not
// finish, or takes nothing, or so little that it would last for minutes.
func TestNoClientMakesADeployLookFailed(t *testing.T) {
	const stream = "GET /v1/attach?channel=load.flow&after=0 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
	says := func(text string) func(net.Conn) error {
		return func(conn net.Conn) error {
			_, err := io.WriteString(conn, text)
			return err
		}
	}
	for name, c := range map[string]struct {
		says  func(net.Conn) error
		two   bool          // over HTTP/2
		takes int64         // bytes, once a second
		most  time.Duration // that the process takes
		warns bool
	}{
		"a body that does not end":            {says("POST /v1/attach HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n{"), false, 1 << 10, closeGrace / 2, false},
		"a stream that is not taken":          {says(stream), false, 0, closeGrace, false},
		"over HTTP/2":                         {saysOverHTTP2, true, 0, closeGrace, false},
		"a stream that is taken in a trickle": {says(stream), false, 512 << 10, 2 * closeGrace, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--data", t.TempDir()}
			fill(t, args...)
			a := certtest.New(t)
			if c.two {
				cert, key := a.Files()
				args = append(args, "--tls-cert", cert, "--tls-key", key)
			}
			s := newSite(t, args...)
			conn, err := s.dial(bounded(t), "tcp", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			if c.two {
				conn = tls.Client(conn, &tls.Config{RootCAs: a.Pool, ServerName: "localhost", NextProtos: []string{"h2"}})
			}
			if err := c.says(conn); err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Read(make([]byte, 1)) // the process has it
			go func() {                       // ends with the connection
				for err := error(nil); err == nil && c.takes > 0; time.Sleep(time.Second) {
					_, err = io.CopyN(io.Discard, conn, c.takes)
				}
			}()
			began := time.Now()
			if status, took := s.stop(), time.Since(began); status != 0 || took > c.most {
				t.Errorf("the status is %d after %v, want 0 after %v at most", status, took, c.most)
			}
			if log := s.process.stderr.String(); strings.Contains(log, "cut off") != c.warns || c.warns && !strings.Contains(log, "connections=1 ") {
				t.Errorf("the log is %s", log)
			}
		})
	}
}

// fill stores 20 MB.
func fill(t *testing.T, args ...string) {
	t.Helper()
	s := newSite(t, args...)
	client := clientBy(t, s.dial)
	body := "[" + strings.Repeat(`{"data":"`+strings.Repeat("x", 50<<10)+`"},`, 19) + `{"data":1}]`
	for range 20 {
		if err := call(t.Context(), client, "channels/load.flow/messages", "application/json", body, new(receipt)); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
}

// saysOverHTTP2 asks for the stream with all the window that there may be, so that only TCP holds it up.
func saysOverHTTP2(conn net.Conn) error {
	const all, path = 1<<31 - 1, "/v1/attach?channel=load.flow&after=0"
	const accept = "text/event-stream"
	// RFC 7541, appendix A and section 6.2.2.
	fields := "\x82\x87\x01\x09localhost\x04" + string(rune(len(path))) + path + "\x0f\x04" + string(rune(len(accept))) + accept
	_, err := io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	if err == nil {
		err = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: all})
	}
	if err == nil {
		err = framer.WriteWindowUpdate(0, all-65535)
	}
	if err == nil {
		err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(fields), EndHeaders: true, EndStream: true})
	}
	for err == nil { // until its answer begins
		var f http2.Frame
		if f, err = framer.ReadFrame(); err == nil && f.Header().Type == http2.FrameData {
			break
		}
	}
	return err
}

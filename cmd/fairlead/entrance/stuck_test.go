package entrance

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// askOverTLS asks for path over HTTP/1.1 or HTTP/2, with all the window that
// there may be, and returns the connection, of which nothing more is read.
func askOverTLS(t *testing.T, addr string, a *certtest.Authority, two bool, path string) net.Conn {
	t.Helper()
	below, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = below.Close() })
	_ = below.(*net.TCPConn).SetReadBuffer(64 << 10)
	config := &tls.Config{RootCAs: a.Pool, ServerName: "localhost"}
	if two {
		config.NextProtos = []string{"h2"}
	}
	conn := tls.Client(below, config)
	if !two {
		_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	} else if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		err = askFramed(http2.NewFramer(conn, nil), path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func askFramed(f *http2.Framer, path string) error {
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}} {
		_ = fields.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	const all = 1<<31 - 1
	err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: all})
	if err == nil {
		err = f.WriteWindowUpdate(0, all-65535)
	}
	if err == nil {
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	}
	return err
}

// TestWhoTakesNothingIsCutOff has a client that does not take what is written,
// and one to which nothing is written for a while, which stays.
func TestWhoTakesNothingIsCutOff(t *testing.T) {
	const stall = 300 * time.Millisecond
	for _, two := range []bool{false, true} {
		a := certtest.New(t)
		cert, key := a.Files()
		cut, stuck, waiting := make(chan struct{}), make(chan error, 1), make(chan error, 1)
		began := make(chan struct{})
		e := open(t, Options{Cert: cert, Key: key}, func(w http.ResponseWriter, r *http.Request) {
			part := make([]byte, 16<<10)
			_, err := w.Write(part)
			if r.URL.Path == "/waits" {
				close(began)
				<-cut
				_, err = w.Write(part)
				waiting <- err
				return
			}
			for err == nil {
				_, err = w.Write(part)
			}
			stuck <- err
		})
		askOverTLS(t, e.Addr().String(), a, two, "/waits")
		askOverTLS(t, e.Addr().String(), a, two, "/stuck")
		<-began
		begins := time.Now()
		for ended := false; !ended; {
			select {
			case <-stuck:
				ended = true
			case <-time.After(stall / 3):
				e.CutStuck(stall)
			}
		}
		if took := time.Since(begins); took < stall {
			t.Errorf("HTTP/2 %v: cut off after %v, before it took nothing for %v", two, took, stall)
		}
		close(cut)
		if err := <-waiting; err != nil {
			t.Errorf("HTTP/2 %v: who was written nothing was cut off: %v", two, err)
		}
		if n := e.connections.count(); n != 1 {
			t.Errorf("HTTP/2 %v: %d connections are left, want 1", two, n)
		}
	}
}

// TestAConnectionOfHTTP2ThatTakesNothingIsEnded has a handler that gives each
// write a deadline, as the gateway does: in HTTP/2 that alone ends no write.
func TestAConnectionOfHTTP2ThatTakesNothingIsEnded(t *testing.T) {
	const stall = 300 * time.Millisecond
	a := certtest.New(t)
	cert, key := a.Files()
	stuck := make(chan time.Duration, 1)
	e := open(t, Options{Cert: cert, Key: key, WriteStall: stall}, func(w http.ResponseWriter, _ *http.Request) {
		part, control := make([]byte, 16<<10), http.NewResponseController(w)
		for {
			began := time.Now()
			_ = control.SetWriteDeadline(began.Add(stall / 3))
			if _, err := w.Write(part); err != nil {
				stuck <- time.Since(began)
				return
			}
		}
	})
	askOverTLS(t, e.Addr().String(), a, true, "/")
	if took := <-stuck; took < stall {
		t.Errorf("cut off after %v, want %v", took, stall)
	}
}

package entrance

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// drip sends at once what comes first, and then the text, a byte a second, until
// the other side ends the connection, and returns after what time that is.
// meanwhile is called every second.
func drip(t *testing.T, conn net.Conn, first, text string, meanwhile func()) (ended time.Duration) {
	t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		ended = time.Since(began)
		_ = conn.Close()
	})
	_, _ = io.WriteString(conn, first)
	for i := range len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			wg.Wait()
			return ended
		}
		meanwhile()
		time.Sleep(time.Second)
	}
	t.Fatalf("all of %q is taken", text)
	return 0
}

// addressed is a connection from somewhere.
type addressed struct {
	net.Conn
	from netip.AddrPort
}

func (a addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.from) }

// TestAHeaderThatDripsIsCutOff: bytes that keep coming win no time, and keep nobody else from being served.
func TestAHeaderThatDripsIsCutOff(t *testing.T) {
	const wait, idle = 10 * time.Second, time.Minute
	header := "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		before func(net.Conn)
		want   time.Duration
	}{
		"a first request": {func(net.Conn) {}, wait},
		"a next request":  {func(conn net.Conn) { wantAnswer(t, conn, 0) }, 3*time.Second + wait}, // until there are four bytes, the connection is idle
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, in := piped(t, Options{HeaderWait: wait, Idle: idle})
				serving(t, e, whence)
				conn := in.dial()
				c.before(conn)
				got := drip(t, conn, "", header, func() {
					began, healthy := time.Now(), in.dial()
					defer healthy.Close()
					if wantAnswer(t, healthy, 0); time.Since(began) > 0 {
						t.Errorf("a healthy client was answered after %s", time.Since(began))
					}
				})
				if got != c.want {
					t.Errorf("it is cut off after %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestAPROXYHeaderThatDripsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 10 * time.Second
		proxy := netip.MustParseAddr("192.0.2.1")
		e, in := piped(t, Options{ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.PrefixFrom(proxy, 32)}, HeaderWait: wait})
		serving(t, e, whence)
		dial := func() net.Conn {
			here, there := net.Pipe()
			in.ends <- addressed{there, netip.AddrPortFrom(proxy, 1)}
			return here
		}
		client := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:1000"))
		header, err := proxyproto.HeaderProxyFromAddrs(2, client, client).Format()
		if err != nil {
			t.Fatal(err)
		}
		got := drip(t, dial(), "", string(header), func() {
			healthy := dial()
			defer healthy.Close()
			_, _ = healthy.Write(header)
			if from := wantAnswer(t, healthy, 0); from != client.String() {
				t.Errorf("a healthy client is at %q", from)
			}
		})
		if got != wait {
			t.Errorf("it is cut off after %s, want %s", got, wait)
		}
	})
}

// TestTLSThatDripsIsCutOff drips a handshake, and then, within TLS, a header of
// HTTP/2, for which a connection without a stream has as long as it may be idle.
func TestTLSThatDripsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait, idle = 10 * time.Second, 30 * time.Second
		a := certtest.New(t)
		cert, key := a.Files()
		e, in := piped(t, Options{Cert: cert, Key: key, HeaderWait: wait, Idle: idle})
		serving(t, e, whence)
		speaking := func(protocol string) *tls.Conn {
			conn := tls.Client(in.dial(), &tls.Config{RootCAs: a.Pool, ServerName: "localhost", NextProtos: []string{protocol}})
			if err := conn.Handshake(); err != nil {
				t.Error(err)
			}
			return conn
		}
		healthy := func() {
			conn := speaking("http/1.1")
			wantAnswer(t, conn, 0)
			_ = conn.NetConn().Close()
		}
		if got := drip(t, in.dial(), "", string(clientHello(t)), healthy); got != wait {
			t.Errorf("a handshake is cut off after %s, want %s", got, wait)
		}
		if got := drip(t, speaking("http/1.1"), "", "GET / HTTP/1.1\r\nHost: localhost\r\n", healthy); got != wait {
			t.Errorf("a header of HTTP/1.1 is cut off after %s, want %s", got, wait)
		}
		begin := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // with a frame of no settings
		headers := "\x00\x03\xe8\x01\x04\x00\x00\x00\x01" + strings.Repeat("\x00", 1000)
		if got := drip(t, speaking("h2"), begin, headers, healthy); got < idle || got > idle+2*time.Second {
			t.Errorf("a header of HTTP/2 is cut off after %s, want %s", got, idle)
		}
	})
}

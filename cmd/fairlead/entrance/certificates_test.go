package entrance

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// TestHandshakesThatDoNotEndAreCutOff has a few hundred of them hang at every
// stage. The bubble panics if any of their goroutines stays.
func TestHandshakesThatDoNotEndAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certtest.New(t)
		cert, key := a.Files()
		const wait = 7 * time.Second
		e, in := piped(t, Options{Cert: cert, Key: key, HeaderWait: wait})
		serving(t, e, whence)
		hello := clientHello(t)
		var stuck []net.Conn
		for i := range 300 {
			conn := in.dial()
			if _, err := conn.Write(hello[:i*len(hello)/300]); err != nil {
				t.Fatal(err)
			}
			stuck = append(stuck, conn)
		}
		began := time.Now()
		healthy := tls.Client(in.dial(), &tls.Config{RootCAs: a.Pool, ServerName: "localhost"})
		if err := healthy.Handshake(); err != nil || time.Since(began) > 0 {
			t.Errorf("a healthy handshake took %s among them: %v", time.Since(began), err)
		}
		_ = healthy.NetConn().Close()
		for i, conn := range stuck {
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != wait {
				t.Fatalf("handshake %d was cut off after %s, want %s", i, took, wait)
			}
		}
	})
}

// clientHello is the first thing that a client says.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	go func() { // ends when there is closed
		_ = tls.Client(here, &tls.Config{ServerName: "localhost"}).Handshake()
	}()
	defer there.Close()
	b := make([]byte, 16<<10)
	n, err := there.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// TestAReloadedCertificateDropsNoConnection has a client ask again and again on one connection.
func TestAReloadedCertificateDropsNoConnection(t *testing.T) {
	a := certtest.New(t)
	cert, key := a.Files()
	e := open(t, Options{Cert: cert, Key: key}, whence)
	ask := func(client *http.Client) (from string, serial int64) {
		t.Helper()
		response, err := client.Get("https://" + e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return string(text), response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	old := a.Client()
	before, first := ask(old)
	a.Issue(cert, key, first+1, time.Now().Add(time.Hour))
	if err := e.ReloadCertificate(); err != nil {
		t.Fatal(err)
	}
	if _, serial := ask(a.Client()); serial != first+1 {
		t.Errorf("a new client gets certificate %d, want %d", serial, first+1)
	}
	if after, _ := ask(old); after != before {
		t.Errorf("the connection of %s was dropped, and now there is %s", before, after)
	}
}

package main

import (
	"bufio"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// An acmeServer is Pebble, Let's Encrypt's own for tests, in a process of its
// own. It finds every name at sendTo's address.
type acmeServer struct {
	directory string         // its URL
	trusted   string         // the file of who has issued its own certificate
	issuer    *x509.CertPool // of the certificates that it issues

	gateway atomic.Pointer[string]
	stop    func() (orders int)
}

func startACME(t *testing.T) *acmeServer {
	t.Helper()
	dir := t.TempDir()
	a := certtest.New(t)
	s := &acmeServer{trusted: filepath.Join(dir, "authority.pem")}
	certtest.WritePEM(t, s.trusted, "CERTIFICATE", a.Cert.Raw)
	cert, key := a.Files()
	ports := freePorts(t, 2)
	s.directory = "https://localhost" + ports[0] + "/dir"
	config, _ := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1" + ports[0], "managementListenAddress": "127.0.0.1" + ports[1],
		"certificate": cert, "privateKey": key, "tlsPort": s.relay(t).Port, "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]any{"authz": 1, "order": 1},
	}})
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(buildPebble(t, dir), "-config", path, "-strict", "-dnsserver", serveNames(t).String())
	cmd.Env = []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5"}
	s.run(t, cmd)
	s.issuer = issuerOf(t, a.Client(), "https://localhost"+ports[1]+"/roots/0")
	answer(t, a.Client(), s.directory)
	return s
}

// run starts the process. stop ends it, and returns how many orders it got.
func (s *acmeServer) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	orders := make(chan int, 1)
	go func() { // ends with the process
		n := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Added order ") {
				n++
			}
		}
		orders <- n
	}()
	s.stop = sync.OnceValue(func() int {
		_ = cmd.Process.Kill()
		n := <-orders
		_ = cmd.Wait()
		return n
	})
	t.Cleanup(func() { s.stop() })
}

// sendTo says where the gateway is now.
func (s *acmeServer) sendTo(address string) { s.gateway.Store(&address) }

// relay listens where the ACME server looks for names, which it must know
// before there is a gateway, and connects who comes to the gateway.
func (s *acmeServer) relay(t *testing.T) *net.TCPAddr {
	return serveConns(t, func(conn net.Conn) {
		address := s.gateway.Load()
		if address == nil {
			return
		}
		gateway, err := net.Dial("tcp", *address)
		if err != nil {
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.Copy(gateway, conn)
			_ = gateway.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(conn, gateway)
		_ = conn.Close()
		wg.Wait()
		_ = gateway.Close()
	})
}

// serveNames is a name server, over TCP, to which every name is 127.0.0.1.
func serveNames(t *testing.T) *net.TCPAddr {
	return serveConns(t, func(conn net.Conn) {
		var size [2]byte
		for {
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			var message dnsmessage.Message
			if _, err := io.ReadFull(conn, query); err != nil || message.Unpack(query) != nil {
				return
			}
			message.Response, message.Additionals = true, nil
			if q := message.Questions[0]; q.Type == dnsmessage.TypeA {
				message.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			reply, err := message.AppendPack([]byte{0, 0})
			if err != nil {
				return
			}
			binary.BigEndian.PutUint16(reply, uint16(len(reply)-2))
			_, _ = conn.Write(reply)
		}
	})
}

// serveConns serves each connection to a free port until the test ends.
func serveConns(t *testing.T, serve func(net.Conn)) *net.TCPAddr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { // the processes on the other side have ended by then
		_ = listener.Close()
		wg.Wait()
	})
	return listener.Addr().(*net.TCPAddr)
}

// freePorts are ports that nobody has just now, each with its colon: Pebble takes no listener, nor does it tell its port.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, fmt.Sprintf(":%d", listener.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func buildPebble(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "pebble")
	cmd := exec.Command("go", "build", "-modfile=tools.mod", "-o", path, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// answer is what is at the URL once somebody answers there, for which there is no sign but that.
func answer(t *testing.T, client *http.Client, url string) []byte {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		response, err := client.Get(url)
		if err == nil {
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != 200 {
				t.Fatalf("%s: got %s, %v", url, response.Status, err)
			}
			return text
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func issuerOf(t *testing.T, client *http.Client, url string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(answer(t, client, url)) {
		t.Fatalf("there is no certificate at %s", url)
	}
	return pool
}

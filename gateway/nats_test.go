package gateway

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsDir is the environment variable that makes this test binary a NATS server.
const natsDir = "FAIRLEAD_TEST_NATS_DIR"

// startNATS starts a NATS server on a free port, as an operator would: a
// process of its own, whose memory is not this one's. It returns its URL.
func startNATS(t *testing.T) string {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), natsDir+"="+t.TempDir())
	c.Stderr = t.Output()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		if err := c.Wait(); err != nil {
			t.Errorf("the NATS server: %v", err)
		}
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("the NATS server does not start: ", err)
	}
	return strings.TrimSpace(url)
}

// serveNATS prints its URL and serves until its input ends.
func serveNATS(dir string) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Start()
	if s.ReadyForConnections(time.Minute) {
		fmt.Println(s.ClientURL())
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	s.Shutdown()
	s.WaitForShutdown()
}

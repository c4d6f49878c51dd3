package entrance

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// settings are those that a server of HTTP/2 begins with, by their numbers.
func settings(conn io.ReadWriter) (map[uint16]uint32, error) {
	const head, each, ofSettings = 9, 6, 4 // RFC 9113, sections 4.1 and 6.5
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return nil, err
	}
	frame := make([]byte, head)
	if _, err := io.ReadFull(conn, frame); err != nil || frame[3] != ofSettings {
		return nil, fmt.Errorf("%x: %w", frame, errors.Join(err, errors.ErrUnsupported))
	}
	body := make([]byte, int(frame[1])<<8|int(frame[2]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	got := make(map[uint16]uint32)
	for ; len(body) >= each; body = body[each:] {
		got[binary.BigEndian.Uint16(body)] = binary.BigEndian.Uint32(body[2:])
	}
	return got, nil
}

// TestAConnectionOfHTTP2HasAHundredRequestsAtATime: so clients are told, and that more are refused is net/http's.
func TestAConnectionOfHTTP2HasAHundredRequestsAtATime(t *testing.T) {
	a := certtest.New(t)
	cert, key := a.Files()
	e := open(t, Options{Cert: cert, Key: key}, whence)
	conn, err := tls.Dial("tcp", e.Addr().String(), &tls.Config{RootCAs: a.Pool, ServerName: "localhost", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const maxConcurrentStreams = 3
	if got, err := settings(conn); err != nil || got[maxConcurrentStreams] != 100 {
		t.Fatalf("its settings are %v %v, want 100 streams", got, err)
	}
}

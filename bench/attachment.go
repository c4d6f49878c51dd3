package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// attachment is the client's side of one, as cheap as can be: it shares the
// cores with the gateway that is measured.
type attachment struct {
	conn net.Conn
	in   *bufio.Reader
	next func() ([]byte, error) // a frame; good until the next call
	buf  []byte
}

// attach attaches to a channel, from now, and waits for the proof.
func attach(ctx context.Context, address string, transport protocol.Transport, channel string) (*attachment, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	a := &attachment{conn: conn, in: bufio.NewReaderSize(conn, 2<<10)}
	if err := a.open(address, transport, channel); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

func (a *attachment) open(address string, transport protocol.Transport, channel string) error {
	header := "Accept: text/event-stream\r\n"
	if transport == protocol.WebSocket {
		header = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " + protocol.Subprotocol + "\r\n"
	}
	if err := a.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.conn, "GET /v1/attach?channel=%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", channel, address, header); err != nil {
		return err
	}
	response, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return err
	}
	switch response.StatusCode {
	case http.StatusSwitchingProtocols:
		a.next = a.nextText
	case http.StatusOK:
		a.in = bufio.NewReaderSize(response.Body, 4<<10) // the prelude's comment is the longest line
		a.next = a.nextData
	default:
		return fmt.Errorf("attach: %s", response.Status)
	}
	for {
		frame, err := a.next()
		if err != nil {
			return fmt.Errorf("wait for the proof: %w", err)
		}
		if bytes.HasPrefix(frame, []byte(`{"op":"proof"`)) {
			return a.conn.SetDeadline(time.Time{})
		}
	}
}

// message returns the next message.
func (a *attachment) message() ([]byte, error) {
	for {
		frame, err := a.next()
		if err != nil || bytes.HasPrefix(frame, []byte(`{"op":"message"`)) {
			return frame, err
		}
	}
}

// nextData reads the data of an SSE event.
func (a *attachment) nextData() ([]byte, error) {
	for {
		line, err := a.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			return data, nil
		}
	}
}

// nextText reads a text message of a WebSocket (RFC 6455, section 5.2), which the gateway sends in one frame.
func (a *attachment) nextText() ([]byte, error) {
	for {
		var head [10]byte
		if _, err := io.ReadFull(a.in, head[:2]); err != nil {
			return nil, err
		}
		size := int(head[1])
		switch size {
		case 126:
			if _, err := io.ReadFull(a.in, head[2:4]); err != nil {
				return nil, err
			}
			size = int(binary.BigEndian.Uint16(head[2:]))
		case 127:
			if _, err := io.ReadFull(a.in, head[2:10]); err != nil {
				return nil, err
			}
			size = int(binary.BigEndian.Uint64(head[2:]))
		}
		if cap(a.buf) < size {
			a.buf = make([]byte, size)
		}
		frame := a.buf[:size]
		if _, err := io.ReadFull(a.in, frame); err != nil {
			return nil, err
		}
		if head[0] == 0x81 {
			return frame, nil
		}
	}
}

// attachAll attaches n times. The caller closes what it returns, even with an error.
func attachAll(ctx context.Context, address string, transport protocol.Transport, channel string, n int) ([]*attachment, error) {
	const atOnce = 128
	all, errs := make([]*attachment, n), make([]error, n)
	gate := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			all[i], errs[i] = attach(ctx, address, transport, channel)
		})
	}
	wg.Wait()
	attached := all[:0]
	for _, a := range all {
		if a != nil {
			attached = append(attached, a)
		}
	}
	return attached, errors.Join(errs...)
}

func closeAll(all []*attachment) {
	for _, a := range all {
		a.conn.Close()
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// publisher publishes over one HTTP connection that it keeps.
type publisher struct {
	conn net.Conn
	in   *bufio.Reader
	head string // of the request, up to its length
	buf  []byte
}

func newPublisher(ctx context.Context, address, channel string) (*publisher, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	head := "POST /v1/channels/" + channel + "/messages HTTP/1.1\r\nHost: " + address + "\r\nContent-Type: application/json\r\nContent-Length: "
	return &publisher{conn: conn, in: bufio.NewReaderSize(conn, 2<<10), head: head}, nil
}

// publish publishes the JSON and returns when it is stored.
func (p *publisher) publish(data []byte) error {
	const before, after = `{"data":`, `}`
	p.buf = append(p.buf[:0], p.head...)
	p.buf = strconv.AppendInt(p.buf, int64(len(before)+len(data)+len(after)), 10)
	p.buf = append(p.buf, "\r\n\r\n"+before...)
	p.buf = append(p.buf, data...)
	p.buf = append(p.buf, after...)
	if err := p.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := p.conn.Write(p.buf); err != nil {
		return err
	}
	return p.answer()
}

// answer reads the answer, whose body has a length.
func (p *publisher) answer() error {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 201 ")) {
		return fmt.Errorf("publish: %s", bytes.TrimSpace(line))
	}
	length := 0
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	_, err = p.in.Discard(length)
	return err
}

func (p *publisher) close() { p.conn.Close() }

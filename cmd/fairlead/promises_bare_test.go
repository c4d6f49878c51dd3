package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// frame is one from the server, as far as the tests look at it.
type frame struct {
	Op         string          `json:"op"`
	ID         string          `json:"id"`
	Channel    string          `json:"channel"`
	Data       json.RawMessage `json:"data"`
	Key        string          `json:"key"`
	From       string          `json:"from"`
	To         any             `json:"to"`
	Reason     string          `json:"reason"`
	Session    string          `json:"session"`
	Attachment string          `json:"attachment"`
	After      any             `json:"after"`
	OK         bool            `json:"ok"`
	Duplicate  bool            `json:"duplicate"`
	Code       string          `json:"code"`
	Error      struct {
		Code string `json:"code"`
	} `json:"error"`
}

// cursor is the cursor after the frame, or nothing if it does not move it.
func (f *frame) cursor() string {
	switch f.Op {
	case protocol.OpMessage, protocol.OpBeat:
		return f.ID
	case protocol.OpGap:
		to, _ := f.To.(string)
		return to
	}
	return ""
}

// door is a way to a gateway.
type door struct {
	http      *http.Client
	transport protocol.Transport
}

// bare is a client without a library: all that it keeps is a cursor. It drops
// nothing and puts nothing in order, so what it sees is what was sent. Not for
// concurrent use.
type bare struct {
	doors    []door // taken in turn, one for each attachment
	channels []string
	cursor   string // empty: from the beginning
	turn     int
}

// tap is an attachment.
type tap struct {
	next  func() (frame, error)
	close func()
}

// follow calls see with one frame after the other, over as many attachments as
// it takes, until see returns false or ctx ends.
func (b *bare) follow(ctx context.Context, see func(frame) bool) error {
	const shortest, longest = time.Millisecond, 100 * time.Millisecond
	wait := shortest
	for {
		tap, err := b.attach(ctx)
		for err == nil {
			var f frame
			if f, err = tap.next(); err != nil {
				break
			}
			wait = shortest
			if !see(f) {
				tap.close()
				return nil
			}
		}
		if tap != nil {
			tap.close()
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, longest)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// attach opens an attachment by the next door.
func (b *bare) attach(ctx context.Context) (*tap, error) {
	door := b.doors[b.turn%len(b.doors)]
	b.turn++
	ctx, cancel := context.WithCancel(ctx)
	q := url.Values{"channel": b.channels, "after": {b.cursor}}
	if b.cursor == "" {
		q.Set("after", "0")
	}
	header := http.Header{}
	switch door.transport {
	case protocol.SSE:
		q.Set("after", "0") // an EventSource repeats its URL
		header.Set("Accept", "text/event-stream")
		if b.cursor != "" {
			header.Set("Last-Event-ID", b.cursor)
		}
	case protocol.Stream:
		header.Set("Accept", "application/x-ndjson")
	case protocol.WebSocket:
		header = socketHeader()
	default:
		q.Set("wait", "5")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL+"/v1/attach?"+q.Encode(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	r.Header = header
	response, err := door.http.Do(r)
	if err != nil {
		cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { response.Body.Close() }) // an upgraded connection does not end by ctx
	t := &tap{close: func() { stop(); cancel(); response.Body.Close() }}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
		t.close()
		return nil, errors.New(response.Status)
	}
	if t.next, err = b.frames(door.transport, response.Body); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// socketHeader asks for a WebSocket.
func socketHeader() http.Header {
	h := http.Header{}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	h.Set("Sec-WebSocket-Protocol", "fairlead.v1")
	return h
}

// frames yields the frames in body, and moves the cursor with each.
func (b *bare) frames(transport protocol.Transport, body io.Reader) (func() (frame, error), error) {
	in := bufio.NewReader(body)
	switch transport {
	case protocol.SSE:
		return func() (f frame, err error) {
			var data string
			if b.cursor, data, err = nextEvent(in, b.cursor); err != nil {
				return f, err
			}
			return f, json.Unmarshal([]byte(data), &f)
		}, nil
	case protocol.Stream:
		return b.moved(func() ([]byte, error) { return nextLine(in) }), nil
	case protocol.WebSocket:
		return b.moved(func() ([]byte, error) { return nextText(in) }), nil
	}
	var answer struct {
		Frames []frame `json:"frames"`
		ID     string  `json:"id"`
	}
	if err := json.NewDecoder(in).Decode(&answer); err != nil || answer.ID == "" || answer.Frames == nil {
		return nil, fmt.Errorf("the answer to the poll is not whole: %w", err)
	}
	b.cursor = answer.ID
	return func() (f frame, err error) {
		if len(answer.Frames) == 0 {
			return f, io.EOF
		}
		f, answer.Frames = answer.Frames[0], answer.Frames[1:]
		return f, nil
	}, nil
}

// moved decodes frames, and moves the cursor as they say.
func (b *bare) moved(next func() ([]byte, error)) func() (frame, error) {
	return func() (f frame, err error) {
		text, err := next()
		if err != nil {
			return f, err
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return f, err
		}
		if cursor := f.cursor(); cursor != "" {
			b.cursor = cursor
		}
		return f, nil
	}
}

// nextEvent reads one event of SSE. id is the last event id before and after it.
func nextEvent(in *bufio.Reader, id string) (_, data string, err error) {
	before := id
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return before, "", err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "id":
			id = value
		case "data":
			data += value
		case "":
			if data != "" {
				return id, data, nil
			}
		}
	}
}

func nextLine(in *bufio.Reader) ([]byte, error) {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// nextText reads one text message of a WebSocket's server, which is never in several frames.
func nextText(in *bufio.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return nil, err
		}
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return nil, err
		}
		size = binary.BigEndian.Uint64(b[:])
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	const finText, finClose = 0x81, 0x88
	switch head[0] {
	case finText:
		return payload, nil
	case finClose:
		return nil, io.EOF
	default:
		return nil, fmt.Errorf("a WebSocket frame that begins with %x", head)
	}
}

// sendText writes a text message as a WebSocket's client does; the mask is zero.
func sendText(out io.Writer, text []byte) error {
	b := []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	_, err := out.Write(append(b, text...))
	return err
}

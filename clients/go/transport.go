package fairlead

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/fairlead/fairlead/protocol"
)

// hello is the hello frame that asks for an attachment.
func hello(h *protocol.Hello) ([]byte, error) {
	return json.Marshal(struct {
		Op string `json:"op"`
		*protocol.Hello
	}{protocol.OpHello, h})
}

// open attaches by t. ctx bounds the attachment's life, not only the opening.
// pulse is called whenever something comes, by the goroutine that reads. with is nil for no token.
func (c *Client) open(ctx context.Context, t protocol.Transport, h *protocol.Hello, with *token, pulse func()) (source, error) {
	if t == protocol.WebSocket {
		return c.openWebSocket(ctx, h, with, pulse)
	}
	accept := map[protocol.Transport]string{
		protocol.SSE: protocol.MediaSSE, protocol.Stream: protocol.MediaStream, protocol.Poll: protocol.MediaJSON,
	}[t]
	body, err := c.attach(ctx, accept, h, with)
	if err != nil {
		return nil, err
	}
	body = &felt{body, pulse}
	switch t {
	case protocol.SSE:
		return &eventSource{body: body}, nil
	case protocol.Stream:
		return newLineSource(body), nil
	default:
		return readPoll(body)
	}
}

// felt is a body that tells whenever something comes.
type felt struct {
	io.ReadCloser
	pulse func()
}

func (f *felt) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		f.pulse()
	}
	return n, err
}

// attach posts the hello and returns the body of the answer, of the media type that was asked for.
func (c *Client) attach(ctx context.Context, accept string, h *protocol.Hello, t *token) (io.ReadCloser, error) {
	body, err := hello(h)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("attach").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", protocol.MediaJSON)
	r.Header.Set("Accept", accept)
	r.Header.Set("Cache-Control", "no-store")
	response, err := c.do(r, t)
	if err != nil {
		return nil, err
	}
	err = checkStatus(response)
	if err == nil && !isMedia(response, accept) {
		err = &StatusError{Status: response.StatusCode}
	}
	if err != nil {
		response.Body.Close()
		return nil, err
	}
	return response.Body, nil
}

// eventSource reads frames from SSE (PROTOCOL.md 3.2).
type eventSource struct {
	body   io.ReadCloser
	parser protocol.EventParser
	ready  [][]byte
	chunk  [16 << 10]byte
}

func (s *eventSource) next() ([]byte, error) {
	s.parser.Limit = maxAnswer
	for len(s.ready) == 0 {
		n, err := s.body.Read(s.chunk[:])
		if bad := s.parser.Feed(s.chunk[:n], s.emit); bad != nil {
			return nil, bad
		}
		if err != nil && len(s.ready) == 0 {
			return nil, err
		}
	}
	first := s.ready[0]
	s.ready = s.ready[1:]
	return first, nil
}

func (s *eventSource) emit(e protocol.Event) error {
	s.ready = append(s.ready, []byte(e.Data))
	return nil
}

func (s *eventSource) leave() { s.close() }
func (s *eventSource) close() { s.body.Close() }

// lineSource reads frames from a stream (PROTOCOL.md 3.3).
type lineSource struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

func newLineSource(body io.ReadCloser) *lineSource {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	return &lineSource{body: body, lines: lines}
}

func (s *lineSource) next() ([]byte, error) {
	for s.lines.Scan() {
		if line := bytes.TrimSpace(s.lines.Bytes()); len(line) > 0 {
			return bytes.Clone(line), nil
		}
	}
	if err := s.lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

func (s *lineSource) leave() { s.close() }
func (s *lineSource) close() { s.body.Close() }

// pollSource hands out the frames of one answer (PROTOCOL.md 3.4).
type pollSource struct{ frames [][]byte }

// errNoPoll is an answer that proves nothing.
var errNoPoll = errors.New("the answer to the poll is not whole")

func readPoll(body io.ReadCloser) (*pollSource, error) {
	defer body.Close()
	b, err := readAll(body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Frames []json.RawMessage `json:"frames"`
		ID     *protocol.Cursor  `json:"id"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPoll, err)
	}
	if answer.Frames == nil || answer.ID == nil {
		return nil, errNoPoll
	}
	s := new(pollSource)
	if !beginsWithWelcome(answer.Frames) {
		s.frames = append(s.frames, []byte(`{"op":"`+opResumed+`"}`))
	}
	for _, f := range answer.Frames {
		s.frames = append(s.frames, f)
	}
	// The cursor for all channels is to them what a beat's id is: never back.
	for _, id := range *answer.ID {
		s.frames = append(s.frames, []byte(`{"op":"beat","id":"`+id.String()+`"}`))
	}
	return s, nil
}

func beginsWithWelcome(frames []json.RawMessage) bool {
	if len(frames) == 0 {
		return false
	}
	f, err := decodeFrame(frames[0])
	return err == nil && f.op == protocol.OpWelcome
}

func (s *pollSource) next() ([]byte, error) {
	if len(s.frames) == 0 {
		return nil, errPolled
	}
	first := s.frames[0]
	s.frames = s.frames[1:]
	return first, nil
}

func (s *pollSource) leave() {}
func (s *pollSource) close() {}

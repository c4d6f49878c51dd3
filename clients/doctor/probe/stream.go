package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// maxFrame is more than any welcome or proof has.
const maxFrame = 1 << 20

var media = map[protocol.Transport]string{protocol.SSE: protocol.MediaSSE, protocol.Stream: protocol.MediaStream, protocol.Poll: protocol.MediaJSON}

// stream observes SSE or the stream until it is proven.
func (p *patient) stream(ctx context.Context, t protocol.Transport) doctor.Observation {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	line := newTimeline(t, p.timeout)
	p.follow(ctx, t, line, func() {}, func() bool { return line.seen.Proof > 0 })
	return line.seen
}

// follow attaches, and notes frames until done. touched is called whenever something comes.
func (p *patient) follow(ctx context.Context, t protocol.Transport, line *timeline, touched func(), done func() bool) {
	response, err := p.attach(ctx, http.MethodPost, media[t], 0)
	if err != nil {
		line.failed(ctx, err)
		return
	}
	defer response.Body.Close()
	line.answered(response)
	if line.seen.Status != http.StatusOK || line.seen.Code != "" {
		return
	}
	body, err := plain(response)
	frames := newCutter(t)
	chunk := make([]byte, 16<<10)
	for err == nil {
		var n int
		n, err = body.Read(chunk)
		if n > 0 {
			touched()
		}
		bad := frames.feed(chunk[:n], func(frame []byte) {
			if line.seen.Code == "" && line.seen.End == "" {
				line.frame(frame)
			}
		})
		if bad != nil {
			line.seen.End = doctor.Damaged
		}
		if line.seen.End != "" || line.seen.Code != "" || done() {
			return
		}
	}
	line.failed(ctx, err)
}

// plain is the response's body without the compression that something on the way may have added.
func plain(r *http.Response) (io.Reader, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body, nil
	}
	return gzip.NewReader(r.Body)
}

// A cutter finds the frames in a stream, however it comes in chunks.
type cutter struct {
	sse    bool
	parser protocol.EventParser
	line   []byte
}

func newCutter(t protocol.Transport) *cutter {
	return &cutter{sse: t == protocol.SSE, parser: protocol.EventParser{Limit: maxFrame}}
}

func (c *cutter) feed(chunk []byte, emit func([]byte)) error {
	if c.sse {
		return c.parser.Feed(chunk, func(e protocol.Event) error {
			emit([]byte(e.Data))
			return nil
		})
	}
	c.line = append(c.line, chunk...)
	for {
		line, rest, found := bytes.Cut(c.line, []byte("\n"))
		if !found {
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			emit(line)
		}
		c.line = rest
	}
	if len(c.line) > maxFrame {
		return protocol.Errorf(protocol.TooLarge, "a line without an end")
	}
	return nil
}

package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// ingest appends the messages of one long request as they arrive. What is
// complete is stored, whatever becomes of the rest; the answer says how far it got.
func (g *Gateway) ingest(w http.ResponseWriter, r *http.Request, from client, channel, media string, d defaults) error {
	if err := checkEncoding(r); err != nil {
		return err
	}
	if d.key != "" {
		return protocol.Errorf(protocol.BadRequest, "Idempotency-Key is for one message: give each one of a stream its own, as id (SSE) or key (NDJSON)")
	}
	done, err := g.door.Upload(from.counted())
	if err != nil {
		return err
	}
	defer done()
	body := g.openUpload(w, r, from, channel)
	defer body.close()
	in := &ingestion{g: g, ctx: body.ctx, from: from, channel: channel, defaults: d}
	if err := in.readAll(body, media); err != nil {
		return body.fail(w, r, &partialError{err: protocol.ErrorFrom(err), progress: in.progress()})
	}
	return g.marshalJSON(w, http.StatusCreated, in.progress())
}

// readAll stores what is complete, until the body's end.
func (in *ingestion) readAll(body *upload, media string) error {
	feed, finish, unfinished := in.feedLines, in.finishLines, in.unfinishedLine
	if media == protocol.MediaSSE {
		in.events.Limit = in.g.limits().Frame
		feed, finish, unfinished = in.feedEvents, in.finishEvents, in.events.Unfinished
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if err := feed(buf[:n]); err != nil {
			if protocol.ErrorFrom(err).Code == protocol.TooLarge {
				in.g.countRefused("frame")
			}
			return err
		}
		if errors.Is(err, io.EOF) {
			return finish()
		}
		if err == nil {
			err = body.hold(unfinished())
		}
		if err != nil {
			return err
		}
	}
}

// ingestion is the state of one such request.
type ingestion struct {
	g        *Gateway
	ctx      context.Context // of the upload
	from     client
	channel  string
	defaults defaults

	events protocol.EventParser
	line   []byte
	lines  int // that are complete

	stored int
	last   *protocol.ID
}

// ingested is how far an ingestion got.
type ingested struct {
	ID     *protocol.ID `json:"id,omitempty"` // the last that is stored
	Stored int          `json:"stored"`
}

func (in *ingestion) progress() *ingested { return &ingested{ID: in.last, Stored: in.stored} }

// partialError is an error that says what was done before it.
type partialError struct {
	err      *protocol.Error
	progress *ingested
}

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

func (in *ingestion) store(p broker.Publication) error {
	p.Channel = in.channel
	if p.Type == "" {
		p.Type = in.defaults.typ
	}
	receipt, err := in.paced(p)
	if err != nil {
		return describe(in.stored, err)
	}
	in.stored++
	in.last = &receipt.ID
	return nil
}

// paced stores a message, when its turn comes: a body that streams faster than
// it may is read more slowly, and not broken off.
func (in *ingestion) paced(p broker.Publication) (broker.Receipt, error) {
	for {
		from, err := in.g.still(in.from)
		if err != nil {
			return broker.Receipt{}, err
		}
		if err = in.g.door.Request(from.counted(), 1); err == nil {
			var receipt broker.Receipt
			if receipt, err = in.g.store(in.ctx, from, p); err == nil {
				return receipt, nil
			}
		}
		e := protocol.ErrorFrom(err)
		if e.Code != protocol.RateLimited {
			return broker.Receipt{}, err
		}
		select {
		case <-time.After(e.RetryAfter):
		case <-in.ctx.Done():
			if cause, ok := errors.AsType[*protocol.Error](context.Cause(in.ctx)); ok {
				return broker.Receipt{}, cause
			}
			return broker.Receipt{}, errCancelled()
		}
	}
}

func (in *ingestion) feedEvents(chunk []byte) error {
	return in.events.Feed(chunk, func(e protocol.Event) error {
		payload := []byte(e.Data)
		return in.store(broker.Publication{Type: e.Type, Key: e.ID, Payload: payload, Encoding: ""})
	})
}

func (in *ingestion) finishEvents() error {
	if in.events.Pending() {
		return protocol.Errorf(protocol.BadRequest, "the body ends in the middle of an event: end each with a blank line")
	}
	return nil
}

func (in *ingestion) feedLines(chunk []byte) error {
	limit := in.g.limits().Frame
	for {
		end := bytes.IndexByte(chunk, '\n')
		if rest := len(chunk); (end >= 0 && len(in.line)+end > limit) || (end < 0 && len(in.line)+rest > limit) {
			return protocol.Errorf(protocol.TooLarge, "message %d: the line is over the limit of %d bytes", in.stored, limit)
		}
		if end < 0 {
			in.line = append(in.line, chunk...)
			return nil
		}
		in.line = append(in.line, chunk[:end]...)
		chunk = chunk[end+1:]
		if err := in.finishLines(); err != nil {
			return err
		}
		if in.lines++; cap(in.line) > keptLine {
			in.line = nil
		}
	}
}

// keptLine is how large a buffer may be that is kept for the next line.
const keptLine = 4 << 10

// unfinishedLine is as protocol.EventParser.Unfinished.
func (in *ingestion) unfinishedLine() (which, held int, begun bool) {
	return in.lines, cap(in.line), len(in.line) > 0
}

// finishLines stores the line that has come to its end: the last one need not have a line break.
func (in *ingestion) finishLines() error {
	line := bytes.TrimSpace(in.line)
	if len(line) == 0 {
		in.line = in.line[:0]
		return nil
	}
	p, err := protocol.ParsePublication(line)
	if err != nil {
		return describe(in.stored, err)
	}
	publication, err := publicationOf(in.channel, p)
	if err != nil {
		return describe(in.stored, err)
	}
	in.line = in.line[:0]
	return in.store(publication)
}

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
	in := &ingestion{g: g, ctx: r.Context(), from: from, channel: channel, defaults: d}
	feed, finish := in.feedLines, in.finishLines
	if media == protocol.MediaSSE {
		in.events.Limit = g.limits().Frame
		feed, finish = in.feedEvents, in.finishEvents
	}
	body := g.body(w, r)
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if err2 := feed(buf[:n]); err2 != nil {
			if protocol.ErrorFrom(err2).Code == protocol.TooLarge {
				g.countRefused("frame")
			}
			return in.broken(err2)
		}
		if errors.Is(err, io.EOF) {
			if err := finish(); err != nil {
				return in.broken(err)
			}
			return g.marshalJSON(w, http.StatusCreated, in.progress())
		}
		if err != nil {
			return in.broken(g.bodyError(err))
		}
	}
}

// ingestion is the state of one such request.
type ingestion struct {
	g        *Gateway
	ctx      context.Context // of the request
	from     client
	channel  string
	defaults defaults

	events protocol.EventParser
	line   []byte

	stored int
	last   *protocol.ID
}

// ingested is how far an ingestion got.
type ingested struct {
	ID     *protocol.ID `json:"id,omitempty"` // the last that is stored
	Stored int          `json:"stored"`
}

func (in *ingestion) progress() *ingested { return &ingested{ID: in.last, Stored: in.stored} }

// broken is the error of an ingestion that did not come to its end.
func (in *ingestion) broken(err error) error {
	return &partialError{err: protocol.ErrorFrom(err), progress: in.progress()}
}

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
	}
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

package protocol

import (
	"bytes"
	"strings"
)

// An Event is one event of a text/event-stream.
type Event struct {
	Type string // empty: message
	Data string
	ID   string
}

// An EventParser parses text/event-stream (WHATWG HTML, section 9.2.6) as it
// arrives, however it is cut into chunks. The zero value has no limit. Not for
// concurrent use.
type EventParser struct {
	// Limit bounds the bytes of one event; 0 is no bound.
	Limit int

	line  []byte // the line so far
	size  int    // bytes of the event so far
	ended int    // how many events are complete, with those that are nothing
	cr    bool   // the last chunk ended in CR: a LF that follows belongs to it
	begun bool   // the byte order mark has been dealt with
	event Event
	data  strings.Builder
	any   bool // a data field was seen
}

// Feed parses chunk and calls emit with each event that it completes, in
// order. It stops at the first error: one from emit, or too_large for an event
// over the limit; the parser is of no use after that. What is left unfinished
// at the end of the stream is no event.
func (p *EventParser) Feed(chunk []byte, emit func(Event) error) error {
	if p.cr && len(chunk) > 0 {
		p.cr = false
		if chunk[0] == '\n' {
			chunk = chunk[1:]
		}
	}
	for len(chunk) > 0 {
		end := bytes.IndexAny(chunk, "\r\n")
		if end < 0 {
			p.line = append(p.line, chunk...)
			return p.checkSize()
		}
		p.line = append(p.line, chunk[:end]...)
		if err := p.checkSize(); err != nil {
			return err
		}
		if chunk[end] == '\r' {
			switch {
			case end+1 == len(chunk):
				p.cr = true
			case chunk[end+1] == '\n':
				end++
			}
		}
		chunk = chunk[end+1:]
		if err := p.endLine(emit); err != nil {
			return err
		}
	}
	return nil
}

// Pending tells whether the stream has stopped in the middle of an event.
func (p *EventParser) Pending() bool { return len(p.line) > 0 || p.any }

// Unfinished is the event that has begun and is not complete: which one since
// the stream began, from 0; held, the bytes of memory that it takes; and whether
// there is one at all. Comments between events begin none.
func (p *EventParser) Unfinished() (which, held int, begun bool) {
	held = cap(p.line) + p.data.Cap() + len(p.event.Type) + len(p.event.ID)
	return p.ended, held, p.Pending() || p.event != Event{}
}

// keptBytes is how large a buffer may be that is kept for the next line.
const keptBytes = 4 << 10

func (p *EventParser) checkSize() error {
	if p.Limit > 0 && p.size+len(p.line) > p.Limit {
		return Errorf(TooLarge, "an event is over the limit of %d bytes", p.Limit)
	}
	return nil
}

func (p *EventParser) endLine(emit func(Event) error) error {
	line := p.line
	p.size += len(line)
	if !p.begun {
		p.begun = true
		line = bytes.TrimPrefix(line, []byte("\uFEFF"))
	}
	if p.line = p.line[:0]; cap(p.line) > keptBytes {
		p.line = nil
	}
	if len(line) == 0 {
		return p.dispatch(emit)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		p.event.Type = string(value)
	case "data":
		if p.any {
			p.data.WriteByte('\n')
		}
		p.any = true
		p.data.Write(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.event.ID = string(value)
		}
	}
	if !p.any && p.event == (Event{}) {
		p.size = 0 // a comment keeps a connection alive, however many there are
	}
	return nil
}

func (p *EventParser) dispatch(emit func(Event) error) error {
	event, any := p.event, p.any
	event.Data = p.data.String()
	p.event, p.any, p.size = Event{}, false, 0
	p.ended++
	p.data.Reset()
	if !any {
		return nil
	}
	return emit(event)
}

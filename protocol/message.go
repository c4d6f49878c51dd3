package protocol

import (
	"strconv"
	"strings"
	"time"
)

// A Message is one record of a channel (PROTOCOL.md 1.3).
type Message struct {
	ID       ID
	Channel  string
	Type     string
	Payload  []byte
	Encoding Encoding
	Time     time.Time
	From     string
	Key      string
}

// Append appends the message as a frame. Whatever the fields hold, the result
// is one line of valid JSON and valid UTF-8; Channel must be a channel name.
func (m *Message) Append(b []byte) []byte {
	b = append(b, `{"op":"message","id":"`...)
	b = m.ID.Append(b)
	b = append(b, `","channel":"`...)
	b = append(b, m.Channel...)
	b = append(b, '"')
	b = appendField(b, `,"type":`, m.Type)
	b = append(b, `,"data":`...)
	b = appendPayload(b, m.Payload, m.Encoding)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, m.Time.UnixMilli(), 10)
	b = appendField(b, `,"from":`, m.From)
	b = appendField(b, `,"key":`, m.Key)
	return append(b, '}')
}

// appendField appends name and s as a JSON string, or nothing if s is empty.
func appendField(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, name...)
	return appendString(b, strings.ToValidUTF8(s, "\uFFFD"))
}

// Wire is the message in the form that every transport sends.
func (m *Message) Wire() Wire {
	// Room for the SSE form, the fixed parts, and escapes or base64.
	room := 160 + 3*len(m.ID.Epoch) + len(m.Channel) + len(m.Type) + len(m.From) + len(m.Key) + len(m.Payload)*4/3
	w := newWire(make([]byte, 0, room), "", m.ID)
	w.buf = m.Append(w.buf)
	return w.end()
}

package protocol

import (
	"strconv"
	"strings"
)

// maxSeq is the largest sequence that every JSON reader keeps exact (RFC 8259, section 6).
const maxSeq = 1<<53 - 1

const maxEpochBytes = 13 // an int64 in base 36

// An ID is a message's place in the log: the sequence in the stream, guarded
// by the stream's identity. The zero ID is none.
type ID struct {
	Epoch string
	Seq   uint64
}

// Append appends the id's text (PROTOCOL.md 1.2).
func (id ID) Append(b []byte) []byte {
	b = append(b, id.Epoch...)
	b = append(b, '-')
	return strconv.AppendUint(b, id.Seq, 10)
}

func (id ID) String() string { return string(id.Append(nil)) }

// MarshalText is the id's text.
func (id ID) MarshalText() ([]byte, error) { return id.Append(nil), nil }

// UnmarshalText parses an id.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// ParseID parses one id.
func ParseID(s string) (ID, error) {
	epoch, digits, ok := strings.Cut(s, "-")
	if !ok || !isEpoch(epoch) {
		return ID{}, badCursor(s)
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || seq > maxSeq || digits[0] == '+' || digits[0] == '0' && digits != "0" {
		return ID{}, badCursor(s)
	}
	return ID{epoch, seq}, nil
}

func isEpoch(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxEpochBytes
}

func badCursor(s string) error {
	return Errorf(BadRequest, "%q is not a cursor: pass back an id that this server sent, such as mb3k2v1p-42, or 0 for the earliest", printable(s))
}

// A Cursor is a client's place in the log: at most one id for each stream.
// The empty cursor is the place before the earliest message.
type Cursor []ID

// maxCursorIDs bounds what a client may make the server parse; a log has one stream today.
const maxCursorIDs = 16

// ParseCursor parses a cursor (PROTOCOL.md 1.2): "0", or ids separated by commas.
func ParseCursor(s string) (Cursor, error) {
	if s == "0" {
		return Cursor{}, nil
	}
	if strings.Count(s, ",") >= maxCursorIDs {
		return nil, badCursor(s)
	}
	cursor := make(Cursor, 0, 1)
	for part := range strings.SplitSeq(s, ",") {
		id, err := ParseID(part)
		if err != nil {
			return nil, badCursor(s)
		}
		if _, twice := cursor.In(id.Epoch); twice {
			return nil, badCursor(s)
		}
		cursor = append(cursor, id)
	}
	return cursor, nil
}

// In returns the cursor's sequence in the stream of that epoch, and whether it has one.
func (c Cursor) In(epoch string) (seq uint64, ok bool) {
	for _, id := range c {
		if id.Epoch == epoch {
			return id.Seq, true
		}
	}
	return 0, false
}

func (c Cursor) String() string {
	if len(c) == 0 {
		return "0"
	}
	var b []byte
	for i, id := range c {
		if i > 0 {
			b = append(b, ',')
		}
		b = id.Append(b)
	}
	return string(b)
}

// MarshalText is the cursor's text.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText parses a cursor.
func (c *Cursor) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCursor(string(text))
	return err
}

// A Start says from where a subscription is served. The zero Start is "from now".
type Start struct {
	After *Cursor `json:"after,omitempty"` // everything after this
	Last  int     `json:"last,omitempty"`  // the last so many messages, if After is nil
}

// Check reports why s is no start, or nil.
func (s Start) Check() error {
	switch {
	case s.After != nil && s.Last != 0:
		return Errorf(BadRequest, "after and last exclude each other: give one of them, or neither for what comes from now on")
	case s.Last < 0 || s.Last > MaxLast:
		return Errorf(BadRequest, "last is %d: it may be 1 to %d", s.Last, MaxLast)
	}
	return nil
}

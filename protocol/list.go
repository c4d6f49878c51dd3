package protocol

import (
	"bytes"
	"encoding/json"
	"iter"
)

// Lists that clients send are read element by element, and no further than it
// takes to find that there are too many: {} is two bytes of a body, and many
// times that once it is decoded.

// elements is a JSON array, of which at most one element more than most is read.
type elements[T any] struct {
	most int
	of   []T
}

// UnmarshalJSON implements json.Unmarshaler, which gives it valid JSON.
func (l *elements[T]) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case b[0] != '[':
		return Errorf(BadRequest, "the JSON holds something else where an array is needed")
	case l.of != nil:
		return errTwice()
	}
	l.of = []T{}
	for part := range parts(b) {
		var v T
		if err := json.Unmarshal(part, &v); err != nil {
			return err
		}
		if l.of = append(l.of, v); len(l.of) > l.most {
			break
		}
	}
	return nil
}

// errTwice is of the same list again and again in one body, which would cost as much as one that is too long.
func errTwice() *Error { return Errorf(BadRequest, "the JSON has the same name twice") }

// members is a JSON object of such values, of which at most one more than most is read.
type members[T any] struct {
	most int
	of   map[string]T
}

// UnmarshalJSON implements json.Unmarshaler, which gives it valid JSON.
func (m *members[T]) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case b[0] != '{':
		return Errorf(BadRequest, "the JSON holds something else where an object is needed")
	case m.of != nil:
		return errTwice()
	}
	m.of = make(map[string]T)
	n := 0
	for part := range parts(b) {
		if n++; n > m.most+1 { // some of the same name
			return Errorf(BadRequest, "the JSON has an object with too many members: at most %d", m.most)
		}
		end := stringEnd(part)
		var name string
		if err := json.Unmarshal(part[:end], &name); err != nil {
			return err
		}
		var v T
		_, value, _ := bytes.Cut(part[end:], []byte(":"))
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		if m.of[name] = v; len(m.of) > m.most {
			break
		}
	}
	return nil
}

// parts are the elements or members of b, an array or object of valid JSON. They share its memory.
func parts(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := bytes.TrimSpace(b[1 : len(b)-1])
		for more := len(rest) > 0; more; {
			end := partEnd(rest)
			if !yield(bytes.TrimSpace(rest[:end])) {
				return
			}
			if more = end < len(rest); more {
				rest = rest[end+1:]
			}
		}
	}
}

// partEnd is where the first of the values in b, which commas part, ends.
func partEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringEnd is the length of the string that b begins with.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

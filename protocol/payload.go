package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"
)

// An Encoding says how a payload's bytes stand in a frame. The empty one is
// found by looking: valid JSON as JSON, else valid UTF-8 as text, else base64.
type Encoding string

// The encodings.
const (
	EncodingJSON   Encoding = "json"
	EncodingText   Encoding = "text"
	EncodingBase64 Encoding = "base64"
)

// EncodingOf is what the empty encoding finds for payload.
func EncodingOf(payload []byte) Encoding {
	switch {
	case !utf8.Valid(payload):
		return EncodingBase64
	case json.Valid(payload) || len(payload) == 0:
		return EncodingJSON
	default:
		return EncodingText
	}
}

// resolve is the encoding that payload can really go out in, whatever a publisher claimed.
func (e Encoding) resolve(payload []byte) Encoding {
	switch {
	case e == EncodingBase64:
		return e
	case e == EncodingText && utf8.Valid(payload):
		return e
	default:
		return EncodingOf(payload)
	}
}

// ParsePayload turns a published data field into the payload's bytes and the
// encoding to store with them, which is empty where looking at them finds the same.
func ParsePayload(data json.RawMessage, encoding Encoding) ([]byte, Encoding, error) {
	switch encoding {
	case "":
		return compact(data), "", nil
	case EncodingBase64:
		var text []byte // encoding/json reads a []byte as base64
		if len(data) == 0 || data[0] != '"' || json.Unmarshal(data, &text) != nil {
			return nil, "", Errorf(BadRequest, `data is not a string of base64 (RFC 4648, section 4), as "encoding":"base64" says`)
		}
		return text, EncodingBase64, nil
	default:
		return nil, "", Errorf(BadRequest, `the encoding %q is unknown: leave it out, or say "base64"`, printable(string(encoding)))
	}
}

// RawPayload is the encoding to store with a payload that was not published as JSON.
func RawPayload(payload []byte) Encoding {
	switch EncodingOf(payload) {
	case EncodingJSON:
		return EncodingText // 42 in a text/plain body is a text, not a number
	default:
		return ""
	}
}

// compact removes line breaks, which only white space in valid JSON can hold:
// a frame is one line on every transport.
func compact(data []byte) []byte {
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return data
	}
	return b.Bytes()
}

// appendPayload appends payload as the value of data, and then the encoding if it has to be told.
func appendPayload(b, payload []byte, encoding Encoding) []byte {
	switch encoding.resolve(payload) {
	case EncodingJSON:
		if len(payload) == 0 {
			return append(b, "null"...)
		}
		return append(b, compact(payload)...)
	case EncodingText:
		return appendString(b, payload)
	default:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, payload)
		return append(b, `","encoding":"base64"`...)
	}
}

const hexDigits = "0123456789abcdef"

// appendString appends s, valid UTF-8, as a JSON string (RFC 8259, section 7).
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

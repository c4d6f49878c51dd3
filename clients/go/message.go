package fairlead

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A Message is one record of a channel (PROTOCOL.md 1.3).
type Message struct {
	ID       protocol.ID
	Channel  string
	Type     string
	Data     json.RawMessage   // the payload as JSON
	Encoding protocol.Encoding // base64: Data is a string that holds bytes
	Time     time.Time
	From     string
	Key      string
	Frame    json.RawMessage // all of it, as it came
}

// decode reads a message frame, which it keeps.
func (m *Message) decode(frame []byte) error {
	var wire struct {
		ID       protocol.ID       `json:"id"`
		Channel  string            `json:"channel"`
		Type     string            `json:"type"`
		Data     json.RawMessage   `json:"data"`
		Encoding protocol.Encoding `json:"encoding"`
		Time     int64             `json:"time"`
		From     string            `json:"from"`
		Key      string            `json:"key"`
	}
	if err := json.Unmarshal(frame, &wire); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	*m = Message{
		ID: wire.ID, Channel: wire.Channel, Type: wire.Type,
		Data: wire.Data, Encoding: wire.Encoding,
		Time: time.UnixMilli(wire.Time), From: wire.From, Key: wire.Key,
		Frame: frame,
	}
	return nil
}

// Bytes is the payload: the bytes that Data holds in base64, or the text of a
// JSON string, or else the JSON itself.
func (m *Message) Bytes() ([]byte, error) {
	var text string
	if len(m.Data) == 0 || m.Data[0] != '"' {
		return m.Data, nil
	}
	if err := json.Unmarshal(m.Data, &text); err != nil {
		return nil, fmt.Errorf("fairlead: the payload of %s: %w", m.ID, err)
	}
	if m.Encoding != protocol.EncodingBase64 {
		return []byte(text), nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("fairlead: the payload of %s: %w", m.ID, err)
	}
	return b, nil
}

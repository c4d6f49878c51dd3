package fairlead

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// opResumed is no frame of the protocol: a poll that has no welcome to deliver
// begins with it, to say that the answer is whole.
const opResumed = "resumed"

// A frame is one from the server. Only the fields of its op are set.
type frame struct {
	op      string
	message *Message
	gap     *protocol.Gap
	welcome *protocol.Welcome
	id      protocol.ID     // of a beat
	err     *protocol.Error // of an error, and of a reply that is one
	after   time.Duration   // of a goaway
	reason  string          // of a goaway
}

// decodeFrame reads a frame, which it keeps. Ops that it does not know are not an error.
func decodeFrame(b []byte) (frame, error) {
	var head struct {
		Op string `json:"op"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return frame{}, fmt.Errorf("read a frame: %w", err)
	}
	f := frame{op: head.Op}
	var err error
	switch f.op {
	case protocol.OpMessage:
		f.message = new(Message)
		err = f.message.decode(b)
	case protocol.OpGap:
		f.gap = new(protocol.Gap)
		err = json.Unmarshal(b, f.gap)
	case protocol.OpWelcome:
		f.welcome = new(protocol.Welcome)
		err = json.Unmarshal(b, f.welcome)
	case protocol.OpBeat:
		err = json.Unmarshal(b, &struct {
			ID *protocol.ID `json:"id"`
		}{&f.id})
	case protocol.OpError:
		f.err = new(protocol.Error)
		err = json.Unmarshal(b, f.err)
	case protocol.OpGoaway:
		var away struct {
			AfterMS int64  `json:"after_ms"`
			Reason  string `json:"reason"`
		}
		err = json.Unmarshal(b, &away)
		f.after, f.reason = time.Duration(max(0, min(away.AfterMS, maxGoawayMS)))*time.Millisecond, away.Reason
	}
	if err != nil {
		return frame{}, fmt.Errorf("read a %s: %w", f.op, err)
	}
	return f, nil
}

const maxGoawayMS = 10 * 60 * 1000 // no server may send a client away for longer

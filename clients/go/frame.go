package fairlead

import (
	"encoding/json"
	"errors"
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
	reply   *reply
	id      protocol.ID     // of a beat
	channel string          // of an unsubscribed
	err     *protocol.Error // of an error, and of an unsubscribed
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
	case protocol.OpReply:
		f.reply = new(reply)
		err = json.Unmarshal(b, f.reply)
	case protocol.OpError:
		f.err, err = decodeError(b)
	case protocol.OpUnsubscribed:
		var of struct {
			Channel string `json:"channel"`
		}
		err = json.Unmarshal(b, &of)
		f.channel = of.Channel
		if err == nil {
			f.err, err = decodeError(b)
		}
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

// decodeError reads the code, the message and the wait of a frame that has them.
func decodeError(b []byte) (*protocol.Error, error) {
	e := new(protocol.Error)
	var more struct {
		RetryAfterMS int64 `json:"retry_after_ms"`
	}
	err := errors.Join(json.Unmarshal(b, e), json.Unmarshal(b, &more))
	e.RetryAfter = milliseconds(more.RetryAfterMS)
	return e, err
}

// A reply is the answer to a command (PROTOCOL.md 2.2).
type reply struct {
	To           json.RawMessage `json:"to"`
	OK           bool            `json:"ok"`
	Error        *protocol.Error `json:"error"`
	RetryAfterMS int64           `json:"retry_after_ms"`
	ExpiresIn    int64           `json:"expires_in"` // of auth, in milliseconds; 0: nothing is said
}

// err is the command's error, or nil.
func (r *reply) err() error {
	switch {
	case r.Error != nil:
		e := *r.Error
		e.RetryAfter = milliseconds(r.RetryAfterMS)
		return &e
	case !r.OK:
		return errors.New("a reply that says neither yes nor no")
	}
	return nil
}

// milliseconds is so many, none below zero, and no more than a year: what is sent may be anything.
func milliseconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, 365*24*60*60*1000))) * time.Millisecond
}

const maxGoawayMS = 10 * 60 * 1000 // no server may send a client away for longer

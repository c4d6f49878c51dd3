package protocol

import (
	"encoding/json"
	"strconv"
	"time"
)

// The ops of frames from the server (PROTOCOL.md 2.1).
const (
	OpWelcome      = "welcome"
	OpProof        = "proof"
	OpMessage      = "message"
	OpGap          = "gap"
	OpSubscribed   = "subscribed"
	OpUnsubscribed = "unsubscribed"
	OpReply        = "reply"
	OpBeat         = "beat"
	OpGoaway       = "goaway"
	OpError        = "error"
)

// Why a gap is there.
const (
	GapRetention = "retention" // age or size limits removed messages
	GapPurged    = "purged"    // somebody deleted them
	GapReplaced  = "replaced"  // the log is another one
	GapAhead     = "ahead"     // the cursor is beyond the log's end
)

// Welcome is the first frame of an attachment.
type Welcome struct {
	Session    string           `json:"session"`
	Attachment string           `json:"attachment"`
	Transport  Transport        `json:"transport"`
	ID         ID               `json:"id"`
	Beat       int64            `json:"beat"` // milliseconds
	Transports []Transport      `json:"transports"`
	Limits     Limits           `json:"limits"`
	Net        string           `json:"net,omitempty"`        // the same for all clients of one network; "" if the server cannot tell
	ExpiresIn  int64            `json:"expires_in,omitempty"` // milliseconds until the token expires; 0: it does not
	Channels   map[string]After `json:"channels"`
}

// Limits are what a client has to know of the server's limits.
type Limits struct {
	Frame    int `json:"frame"`    // bytes of one frame, up
	Channels int `json:"channels"` // subscriptions of one attachment
	History  int `json:"history"`  // messages of one page
	Wait     int `json:"wait"`     // seconds of one poll
}

// After is a position that something is served from.
type After struct {
	After Cursor `json:"after"`
}

// Gap tells that messages after From up to and including To are not in the log any more.
type Gap struct {
	Channel string `json:"channel,omitempty"`
	From    Cursor `json:"from"`
	To      ID     `json:"to"`
	Reason  string `json:"reason"`
}

// Wire is the welcome as a frame. Its SSE id is the log's position only if
// nothing before that position is still to be sent.
func (w *Welcome) Wire() Wire {
	var id ID
	rewinds := false
	for _, start := range w.Channels {
		seq, ok := start.After.In(w.ID.Epoch)
		rewinds = rewinds || !ok || seq < w.ID.Seq
	}
	if !rewinds {
		id = w.ID
	}
	return frame(OpWelcome, id, w)
}

// Wire is the gap as a frame. Only a purge has an SSE id, because it stands in
// the log: any other gap is one subscription's, and an EventSource that was cut
// after it would resume the others at To too, and never be told of theirs.
func (g *Gap) Wire() Wire {
	if g.Reason == GapPurged {
		return frame(OpGap, g.To, g)
	}
	return frame(OpGap, ID{}, g)
}

// Proof is the frame that shows that a stream is let through.
func Proof() Wire { return frame(OpProof, ID{}, nil) }

// Subscribed tells from where a subscription is served.
func Subscribed(channel string, after Cursor) Wire {
	return frame(OpSubscribed, ID{}, struct {
		Channel string `json:"channel"`
		After   Cursor `json:"after"`
	}{channel, after})
}

// Unsubscribed tells that a subscription has ended, or did not begin, because of e.
func Unsubscribed(channel string, e *Error) Wire {
	return frame(OpUnsubscribed, ID{}, struct {
		Channel string `json:"channel"`
		Code    Code   `json:"code"`
		Message string `json:"message"`
	}{channel, e.Code, e.Message})
}

// Beat tells that everything up to id was sent.
func Beat(id ID) Wire {
	w := newWire(make([]byte, 0, 96), OpBeat, id)
	w.buf = append(w.buf, `{"op":"beat","id":"`...)
	w.buf = id.Append(w.buf)
	w.buf = append(w.buf, `"}`...)
	return w.end()
}

// Goaway asks the client to attach again after so long.
func Goaway(after time.Duration, reason string) Wire {
	return frame(OpGoaway, ID{}, struct {
		AfterMS int64  `json:"after_ms"`
		Reason  string `json:"reason"`
	}{after.Milliseconds(), reason})
}

// ErrorFrame ends an attachment.
func ErrorFrame(e *Error) Wire {
	return frame(OpError, ID{}, struct {
		Code         Code   `json:"code"`
		Message      string `json:"message"`
		RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	}{e.Code, e.Message, retryAfterMS(e)})
}

// retryAfterMS is the error's wait in whole milliseconds, none of it left out; 0 for none.
func retryAfterMS(e *Error) int64 {
	return int64((e.RetryAfter + time.Millisecond - 1) / time.Millisecond)
}

// A Reply answers a command. Result is marshalled as an object, and its
// fields stand beside ok; with an Err there is none.
type Reply struct {
	To     json.RawMessage // the command's cid; nil for none
	Result any
	Err    *Error
	Raw    []byte // the whole reply, if another node made it
}

// MarshalJSON is the reply as a frame.
func (r *Reply) MarshalJSON() ([]byte, error) {
	if r.Raw != nil {
		return r.Raw, nil
	}
	b := append([]byte(nil), `{"op":"reply","to":`...)
	if r.To == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, r.To...)
	}
	if r.Err != nil {
		e, err := json.Marshal(r.Err)
		if err != nil {
			return nil, err
		}
		b = append(b, `,"error":`...)
		b = append(b, e...)
		if wait := retryAfterMS(r.Err); wait > 0 {
			b = append(b, `,"retry_after_ms":`...)
			b = strconv.AppendInt(b, wait, 10)
		}
		return append(b, '}'), nil
	}
	b = append(b, `,"ok":true`...)
	if r.Result == nil {
		return append(b, '}'), nil
	}
	fields, err := json.Marshal(r.Result)
	if err != nil {
		return nil, err
	}
	return append(b, mergeFields(fields)...), nil
}

// Wire is the reply as a frame.
func (r *Reply) Wire() Wire {
	w := newWire(nil, OpReply, ID{})
	b, err := r.MarshalJSON()
	if err != nil {
		b, _ = (&Reply{To: r.To, Err: ErrorFrom(err)}).MarshalJSON() // strings only: cannot fail
	}
	w.buf = append(w.buf, b...)
	return w.end()
}

// frame is the frame with that op and the fields of body, which must marshal to an object or be nil.
func frame(op string, id ID, body any) Wire {
	w := newWire(nil, op, id)
	w.buf = append(w.buf, `{"op":`...)
	w.buf = strconv.AppendQuote(w.buf, op)
	if body == nil {
		w.buf = append(w.buf, '}')
		return w.end()
	}
	fields, err := json.Marshal(body)
	if err != nil {
		panic("protocol: a frame of plain fields cannot be marshalled: " + err.Error())
	}
	w.buf = append(w.buf, mergeFields(fields)...)
	return w.end()
}

// mergeFields turns a marshalled object into the rest of an object that has fields already.
func mergeFields(object []byte) []byte {
	if len(object) <= 2 { // {}
		return []byte{'}'}
	}
	object[0] = ','
	return object
}

package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// The ops of frames from a client (PROTOCOL.md 2.2). OpBeat is one as well: it
// asks for the frame of that op.
const (
	OpHello       = "hello"
	OpSubscribe   = "subscribe"
	OpUnsubscribe = "unsubscribe"
	OpPublish     = "publish"
	OpHistory     = "history"
	OpPing        = "ping"
	OpAuth        = "auth"
	OpBye         = "bye"
)

// A Hello asks for an attachment.
type Hello struct {
	Session  string           `json:"session"`
	Channels map[string]Start `json:"channels"`
	Token    string           `json:"token"`
	Beat     int64            `json:"beat"`    // milliseconds; 0: the server's
	Wait     *float64         `json:"wait"`    // seconds; nil: the server's. Polls only
	Welcome  bool             `json:"welcome"` // a poll with a session is to be welcomed, too
}

// Check reports what is wrong with the hello, or nil. maxChannels is the server's limit.
func (h *Hello) Check(maxChannels int) error {
	if err := CheckSession(h.Session); err != nil {
		return err
	}
	if len(h.Channels) > maxChannels {
		return Errorf(BadRequest, "there are too many channels: at most %d in one attachment; use a pattern, such as chat.*", maxChannels)
	}
	if h.Beat < 0 {
		return Errorf(BadRequest, "beat is %d: give milliseconds", h.Beat)
	}
	if h.Wait != nil && !(*h.Wait >= 0) {
		return Errorf(BadRequest, "wait is %v: give seconds", *h.Wait)
	}
	for name, start := range h.Channels {
		if err := CheckPattern(name); err != nil {
			return err
		}
		if err := start.Check(); err != nil {
			return err
		}
	}
	return nil
}

// ParseHello parses a hello frame, or the body of a POST to attach, where op may
// be left out. Of its channels it reads maxChannels and one more at most, so that
// Check with as many finds that they are too many.
func ParseHello(b []byte, maxChannels int) (*Hello, error) {
	var frame struct {
		Op       string         `json:"op"`
		Channels members[Start] `json:"channels"` // in place of the hello's
		Hello
	}
	frame.Channels.most = maxChannels
	if err := parse(b, &frame); err != nil {
		return nil, err
	}
	if frame.Op != OpHello && frame.Op != "" {
		return nil, Errorf(BadRequest, "the first frame is %q: it must be hello", printable(frame.Op))
	}
	frame.Hello.Channels = frame.Channels.of // as many, or one more
	return &frame.Hello, nil
}

// A Publication is a message before the log has it.
type Publication struct {
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data"`
	Encoding Encoding        `json:"encoding"`
	Key      string          `json:"key"`
}

// Check reports what is wrong with the publication's names, or nil.
func (p *Publication) Check() error {
	if err := CheckType(p.Type); err != nil {
		return err
	}
	return CheckKey(p.Key)
}

// A Command is a frame from a client, other than hello. Only the fields of its op mean anything.
type Command struct {
	Op      string          `json:"op"`
	CID     json.RawMessage `json:"cid"`
	Channel string          `json:"channel"`
	Start
	Before *Cursor `json:"before"`
	Limit  int     `json:"limit"`
	Token  string  `json:"token"`
	Publication
}

// ParseCommand parses one command and checks what can be checked without
// knowing the server's state. On an error the command holds at least the CID,
// if that could be read, so that the error finds its way back.
func ParseCommand(b []byte) (*Command, error) {
	c := new(Command)
	if err := parse(b, c); err != nil {
		c.CID = checkedCID(c.CID)
		return c, err
	}
	cid := checkedCID(c.CID)
	if cid == nil && c.CID != nil && string(c.CID) != "null" {
		c.CID = nil
		return c, Errorf(BadRequest, "cid must be a string of at most %d bytes or an integer", MaxCIDBytes)
	}
	c.CID = cid
	return c, c.check()
}

func (c *Command) check() error {
	switch c.Op {
	case OpSubscribe:
		if err := CheckPattern(c.Channel); err != nil {
			return err
		}
		return c.Start.Check()
	case OpUnsubscribe:
		return CheckPattern(c.Channel)
	case OpPublish:
		if err := CheckChannel(c.Channel); err != nil {
			return err
		}
		return c.Publication.Check()
	case OpHistory:
		if err := CheckChannel(c.Channel); err != nil {
			return err
		}
		return c.Range().Check()
	case OpPing, OpAuth, OpBeat, OpBye:
		return nil
	case OpHello:
		return Errorf(BadRequest, "hello is only the first frame: use subscribe and unsubscribe to change channels")
	case "":
		return Errorf(BadRequest, `the frame has no op: write {"op":"publish",…}`)
	default:
		return Errorf(BadRequest, "the op %q is unknown: use subscribe, unsubscribe, publish, history, ping, auth, beat or bye", printable(c.Op))
	}
}

// checkedCID is cid if it is one, else nil.
func checkedCID(cid json.RawMessage) json.RawMessage {
	if len(cid) == 0 || len(cid) > MaxCIDBytes+2 {
		return nil
	}
	if cid[0] == '"' {
		return cid
	}
	for i, c := range cid {
		if (c < '0' || c > '9') && (c != '-' || i > 0) {
			return nil
		}
	}
	return cid
}

// Range is the part of a channel that a history command asks for.
func (c *Command) Range() Range {
	return Range{After: c.After, Before: c.Before, Last: c.Last, Limit: c.Limit}
}

// A Range is a page of a channel's history: after a cursor, before one, or the
// last messages. Without any of them it is after the beginning.
type Range struct {
	After, Before *Cursor
	Last          int
	Limit         int // 0: the default
}

// Check reports why r is no range, or nil.
func (r Range) Check() error {
	given := 0
	for _, is := range []bool{r.After != nil, r.Before != nil, r.Last != 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return Errorf(BadRequest, "after, before and last exclude each other: give one of them")
	case r.Last < 0 || r.Last > MaxLast:
		return Errorf(BadRequest, "last is %d: it may be 1 to %d", r.Last, MaxLast)
	case r.Limit < 0:
		return Errorf(BadRequest, "limit is %d: it may be 1 or more", r.Limit)
	}
	return nil
}

// Commands is the body of POST /v1/commands.
type Commands struct {
	Session    string            `json:"session"`
	Attachment string            `json:"attachment"`
	Token      string            `json:"token"`
	Commands   []json.RawMessage `json:"commands"`
}

// ParseCommands parses the body of POST /v1/commands. Each command is still to be parsed.
func ParseCommands(b []byte) (*Commands, error) {
	var body struct {
		List elements[json.RawMessage] `json:"commands"` // in place of the following's
		Commands
	}
	body.List.most = MaxCommands
	if err := parse(b, &body); err != nil {
		return nil, err
	}
	c := &body.Commands
	c.Commands = body.List.of
	if err := CheckSession(c.Session); err != nil {
		return nil, err
	}
	if !isAttachment(c.Attachment) {
		return nil, Errorf(BadRequest, "attachment is not one: give what the welcome said")
	}
	if len(c.Commands) > MaxCommands {
		return nil, Errorf(BadRequest, "there are too many commands: at most %d in one request", MaxCommands)
	}
	return c, nil
}

// isAttachment tells whether s can be an attachment's name. It may be empty.
func isAttachment(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return len(s) <= 64
}

// ParsePublication parses one message to publish.
func ParsePublication(b []byte) (*Publication, error) {
	p := new(Publication)
	if err := parse(b, p); err != nil {
		return nil, err
	}
	return p, p.Check()
}

// ParsePublications parses a batch of messages to publish.
func ParsePublications(b []byte) ([]*Publication, error) {
	list := elements[*Publication]{most: MaxBatch}
	if err := parse(b, &list); err != nil {
		return nil, err
	}
	if len(list.of) == 0 || len(list.of) > MaxBatch {
		return nil, Errorf(BadRequest, "a batch of no messages, or of too many: it may hold 1 to %d", MaxBatch)
	}
	for i, p := range list.of {
		if p == nil {
			return nil, Errorf(BadRequest, `message %d of the batch is null: write {"data":…}`, i)
		}
		if err := p.Check(); err != nil {
			e := ErrorFrom(err)
			return nil, Errorf(e.Code, "message %d of the batch: %s", i, e.Message)
		}
	}
	return list.of, nil
}

// Fanout is the body of POST /v1/publish.
type Fanout struct {
	Channels []string `json:"channels"`
	Publication
}

// ParseFanout parses the body of POST /v1/publish.
func ParseFanout(b []byte) (*Fanout, error) {
	var body struct {
		List elements[string] `json:"channels"` // in place of the following's
		Fanout
	}
	body.List.most = MaxBatch
	if err := parse(b, &body); err != nil {
		return nil, err
	}
	f := &body.Fanout
	f.Channels = body.List.of
	if len(f.Channels) == 0 || len(f.Channels) > MaxBatch {
		return nil, Errorf(BadRequest, "no channels, or too many: there may be 1 to %d", MaxBatch)
	}
	for _, channel := range f.Channels {
		if err := CheckChannel(channel); err != nil {
			return nil, err
		}
	}
	return f, f.Check()
}

// parse unmarshals a whole JSON text that is valid UTF-8, with errors that a client can act on.
func parse(b []byte, into any) error {
	if !utf8.Valid(b) {
		return Errorf(BadRequest, `the JSON is not UTF-8: send bytes as base64 with "encoding":"base64"`)
	}
	err := json.Unmarshal(b, into)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e // from an UnmarshalText of ours
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return Errorf(BadRequest, "the JSON holds the type %s where %q needs another one", printable(e.Value), printable(e.Field[strings.LastIndexByte(e.Field, '.')+1:]))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || len(bytes.TrimSpace(b)) == 0 {
		return Errorf(BadRequest, "the JSON is empty or ends too early")
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Errorf(BadRequest, "the JSON is malformed: %s", e.Error())
	}
	return Errorf(BadRequest, "the JSON is malformed").Because(err)
}

// A Revoke is the body of POST /v1/revoke.
type Revoke struct {
	Subject string `json:"sub"`
	TokenID string `json:"jti"`
	Session string `json:"session"`
	All     bool   `json:"all"`
	Before  int64  `json:"before"` // milliseconds since the Unix epoch; 0: now
}

// ParseRevoke parses the body of POST /v1/revoke. That it names exactly one thing is still to be checked.
func ParseRevoke(b []byte) (*Revoke, error) {
	var r Revoke
	if err := parse(b, &r); err != nil {
		return nil, err
	}
	if r.Before < 0 {
		return nil, Errorf(BadRequest, "before is %d: give milliseconds since 1970", r.Before)
	}
	return &r, nil
}

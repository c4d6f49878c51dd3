package gateway

import (
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// readBytes is how much of a frame is read at a time: memory follows the bytes
// that come, not the length that a header announces.
const readBytes = 16 << 10

// readMessage reads one text message, and answers pings on the way, through a
// if there is one. The message is held until letGo. Between messages it waits as
// long as it takes; a message that has begun may stand still as long as a body,
// and has its time as a whole.
func (c *webSocket) readMessage(a *attachment) ([]byte, error) {
	c.letGo()
	var message []byte
	state := ws.StateServerSide
	for {
		h, err := c.readHeader(state, len(message))
		if err != nil {
			return nil, err
		}
		if !h.OpCode.IsControl() && c.whole.IsZero() {
			c.whole = c.g.wholeBy(c.g.limits().Frame)
		}
		start := len(message)
		if message, err = c.readPayload(a, message, h); err != nil {
			return nil, err
		}
		if h.OpCode.IsControl() || !h.Fin {
			c.pace()
		}
		switch {
		case h.OpCode.IsControl():
			if err := c.control(a, h.OpCode, message[start:]); err != nil {
				return nil, err
			}
			message = message[:start]
			c.allowHeader()
		case !h.Fin:
			state = state.Set(ws.StateFragmented)
			c.allowHeader()
		case !utf8.Valid(message):
			return nil, &closeError{code: int(ws.StatusInvalidFramePayloadData), text: "a text message that is not UTF-8"}
		default:
			c.whole = time.Time{}
			c.allowHeader()
			c.g.metrics.bytesIn.Add(float64(len(message)))
			return message, nil
		}
	}
}

// framesPerSecond is how many frames a peer may send that end no message:
// pings, and parts of messages. It is read from no faster than that.
const framesPerSecond = 1000

// pace waits until one more such frame may be read.
func (c *webSocket) pace() {
	if c.frames == nil {
		c.frames = rate.NewLimiter(framesPerSecond, framesPerSecond)
	}
	if wait := c.frames.Reserve().Delay(); wait > 0 {
		c.g.countRefused("frames")
		time.Sleep(wait) // a millisecond or two
	}
}

// readHeader reads a frame's header and checks it, given the bytes of its message so far.
func (c *webSocket) readHeader(state ws.State, sofar int) (ws.Header, error) {
	h, err := ws.ReadHeader(c.read)
	if err == nil {
		c.left = h.Length
		err = ws.CheckHeader(h, state)
	} else if !errors.Is(err, ws.ErrHeaderLengthMSB) {
		if !c.whole.IsZero() {
			c.g.countStall("body_stall", err)
		}
		return h, err
	}
	if err != nil {
		return h, &closeError{code: int(ws.StatusProtocolError), text: err.Error()}
	}
	if h.OpCode == ws.OpBinary {
		return h, &closeError{code: int(ws.StatusUnsupportedData), text: "a binary message"}
	}
	if limit := c.g.limits().Frame; !h.OpCode.IsControl() && h.Length > int64(limit-sofar) {
		c.g.countRefused("frame")
		return h, protocol.Errorf(protocol.TooLarge, "the frame is over the limit of %d bytes", limit)
	}
	return h, nil
}

// readPayload appends a frame's payload to message, unmasked.
func (c *webSocket) readPayload(a *attachment, message []byte, h ws.Header) ([]byte, error) {
	start := len(message)
	for c.left > 0 {
		n := int(min(c.left, readBytes))
		var err error
		if message, err = c.grow(a, message, n, h.Fin); err != nil {
			return nil, err
		}
		c.allow(c.g.limits().BodyStall)
		got, err := io.ReadFull(c.read, message[len(message)-n:])
		c.left -= int64(got)
		if err != nil {
			c.g.countStall("body_stall", err)
			return nil, err
		}
	}
	ws.Cipher(message[start:], h.Mask, 0)
	return message, nil
}

// grow makes message n bytes longer, if there is room for what it then takes.
// In the last frame of a message, no more is taken than is left of that.
func (c *webSocket) grow(a *attachment, message []byte, n int, last bool) ([]byte, error) {
	size := len(message) + n
	if size <= cap(message) {
		return message[:size], nil
	}
	held := max(size, 2*cap(message))
	if last {
		held = min(held, len(message)+int(c.left))
	}
	if err := c.hold(a, held); err != nil {
		return nil, err
	}
	grown := make([]byte, size, held)
	copy(grown, message)
	return grown, nil
}

// hold counts that so many bytes are held of the message.
func (c *webSocket) hold(a *attachment, bytes int) error {
	if bytes <= admission.SpareBytes {
		return nil
	}
	if c.held == nil {
		from := c.at.from
		if a != nil {
			from = from.with(a.grant.Load())
		}
		c.held = c.g.door.Body(c.g.sends(from), nil)
	}
	return c.held.Hold(bytes)
}

// letGo counts that nothing is held of the last message any more.
func (c *webSocket) letGo() {
	if c.held != nil {
		c.held.Leave()
		c.held = nil // the next one's sender may be known
	}
}

// skip reads on to the end of the frame, whatever is in it.
func (c *webSocket) skip() error {
	n, err := io.CopyN(io.Discard, c.read, c.left)
	c.left -= n
	return err
}

// allowHeader gives the next frame its time: as much as it takes, unless its message has begun.
func (c *webSocket) allowHeader() {
	if c.whole.IsZero() {
		c.allow(0)
	} else {
		c.allow(c.g.limits().BodyStall)
	}
}

// allow gives the next read so much time, or with 0 as much as it takes, but
// not more than its message and readBy have left.
func (c *webSocket) allow(d time.Duration) {
	at := c.whole
	if d > 0 {
		if next := time.Now().Add(d); at.IsZero() || next.Before(at) {
			at = next
		}
	}
	_ = c.conn.SetReadDeadline(at) // fails only with the connection
	// After that: readBy may be called meanwhile.
	if by := c.by.Load(); by != nil && (at.IsZero() || by.Before(at)) {
		_ = c.conn.SetReadDeadline(*by)
	}
}

// readBy ends reading after d, whatever the peer sends until then.
func (c *webSocket) readBy(d time.Duration) {
	now := time.Now()
	at := now.Add(d)
	if by := c.by.Load(); by != nil && by.After(now) && by.Before(at) {
		at = *by // who reads and who writes both begin the end
	}
	c.by.Store(&at)
	_ = c.conn.SetReadDeadline(at)
}

func (c *webSocket) control(a *attachment, op ws.OpCode, payload []byte) error {
	switch op {
	case ws.OpClose:
		code := ws.StatusNormalClosure
		if len(payload) > 0 {
			var reason string
			code, reason = ws.ParseCloseFrameData(payload)
			if ws.CheckCloseFrameData(code, reason) != nil || code >= 5000 { // RFC 6455, section 7.4.2
				code = ws.StatusProtocolError
			}
		}
		return &closeError{code: int(code), text: "closed by the peer", peer: true}
	case ws.OpPing:
		pong := appendFrame(nil, ws.OpPong, payload)
		if a != nil {
			a.owe(owed{raw: pong})
			return nil
		}
		return c.write(pong)
	default:
		return nil // a pong that nobody asked for (RFC 6455, section 5.5.3)
	}
}

func appendTextFrame(b []byte, w protocol.Wire) []byte { return appendFrame(b, ws.OpText, w.JSON()) }

// appendFrame appends an unmasked frame in one piece (RFC 6455, section 5.2).
func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	const fin = 0x80
	b = append(b, fin|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, payload...)
}

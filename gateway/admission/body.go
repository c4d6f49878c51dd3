package admission

import (
	"io"
	"net/netip"

	"github.com/fairlead/fairlead/protocol"
)

// bodies are the bytes of what is still coming: of bodies that are read as a
// whole, and of messages of which a part is there.
type bodies struct {
	all, strangers *tally[string] // under one key
	byIP           *tally[netip.Addr]
	uploads        *tally[who] // not bytes: how many there are
}

// bodiesShare is the part of the bytes of bodies that one address may have.
const bodiesShare = 4

// strangersShare is the part that those may have, all together, of whom it is
// not known who they are: the rest is for who has shown that.
const strangersShare = 2

// allBodies is the key under which they are counted for all.
const allBodies = "all"

// SpareBytes are not counted of a message that is still coming: what it comes
// over costs as much, and is counted elsewhere.
const SpareBytes = 4 << 10

func newBodies() bodies {
	return bodies{newTally[string](), newTally[string](), newTally[netip.Addr](), newTally[who]()}
}

func (b *bodies) setLimits(l *Limits) {
	b.all.setMost(l.Bodies)
	b.strangers.setMost(part(l.Bodies, strangersShare))
	b.byIP.setMost(part(l.Bodies, bodiesShare))
	b.uploads.setMost(l.UploadsPerClient)
}

// part is one of so many parts of a limit, which may be none.
func part(limit, parts int) int {
	if limit < 0 {
		return limit
	}
	return limit / parts
}

// A Body is what is there of something that is still coming, counted for as
// long as it is held. One goroutine at a time uses it.
type Body struct {
	d     *Door
	c     Client
	r     io.Reader
	taken int
}

// Body is r, which c sends; nil where the caller tells by Hold what is there.
// The caller calls Leave.
func (d *Door) Body(c Client, r io.Reader) *Body { return &Body{d: d, c: c, r: r} }

// Read reads from the body, or fails if there is no room for what has come.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n > 0 {
		if err := b.take(n); err != nil {
			return 0, err
		}
	}
	return n, err
}

// Hold counts that n bytes are held now, whatever was before. If there is no
// room for more it fails, and what was counted stays.
func (b *Body) Hold(n int) error {
	if n <= SpareBytes {
		n = 0
	}
	switch {
	case n > b.taken:
		return b.take(n - b.taken)
	case n < b.taken:
		b.give(b.taken - n)
	}
	return nil
}

func (b *Body) take(n int) error {
	of := &b.d.bodies
	if !of.all.enterN(allBodies, n) {
		return b.d.refuse("bodies", protocol.Unavailable, busyWait, "what is still coming has %d bytes, as many as it may: try again", b.d.Limits().Bodies)
	}
	if !of.strangers.enterN(b.stranger(), n) {
		of.all.leaveN(allBodies, n)
		return b.d.refuse("bodies", protocol.Unavailable, busyWait, "too much is coming from clients who have yet to say who they are: try again, with your token in the Authorization header")
	}
	if !of.byIP.enterN(b.c.IP, n) {
		of.all.leaveN(allBodies, n)
		of.strangers.leaveN(b.stranger(), n)
		return b.d.refuse("bodies", protocol.RateLimited, busyWait, "your address sends too many bytes at a time: send one after the other")
	}
	b.taken += n
	return nil
}

func (b *Body) give(n int) {
	of := &b.d.bodies
	of.all.leaveN(allBodies, n)
	of.strangers.leaveN(b.stranger(), n)
	of.byIP.leaveN(b.c.IP, n)
	b.taken -= n
}

// stranger is the key of those of whom it is not known who they are; "" for others.
func (b *Body) stranger() string {
	if b.c.Known {
		return ""
	}
	return allBodies
}

// Leave gives back what was taken, when what was read is not held any longer.
func (b *Body) Leave() { _ = b.Hold(0) }

package admission

import (
	"io"
	"net/netip"

	"github.com/fairlead/fairlead/protocol"
)

// bodies are the bytes of bodies that are being read as a whole.
type bodies struct {
	all  *tally[string] // under one key
	byIP *tally[netip.Addr]
}

// bodiesShare is the part of the bytes of bodies that one address may have.
const bodiesShare = 4

// allBodies is the key under which they are counted for all.
const allBodies = "all"

func newBodies() bodies { return bodies{newTally[string](), newTally[netip.Addr]()} }

func (b *bodies) setLimits(l *Limits) {
	b.all.setMost(l.Bodies)
	b.byIP.setMost(l.Bodies / bodiesShare)
}

// A Body is a body that is being read, counted for as long as it is held. One
// goroutine at a time uses it.
type Body struct {
	d     *Door
	ip    netip.Addr
	r     io.Reader
	taken int
}

// Body is r, which c sends. The caller calls Leave.
func (d *Door) Body(c Client, r io.Reader) *Body { return &Body{d: d, ip: c.IP, r: r} }

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

func (b *Body) take(n int) error {
	of := &b.d.bodies
	if !of.all.enterN(allBodies, n) {
		return b.d.refuse("bodies", protocol.Unavailable, busyWait, "the bodies that are being read have %d bytes, as many as they may: try again", b.d.Limits().Bodies)
	}
	if !of.byIP.enterN(b.ip, n) {
		of.all.leaveN(allBodies, n)
		return b.d.refuse("bodies", protocol.RateLimited, busyWait, "your address sends bodies of too many bytes at a time: send one after the other")
	}
	b.taken += n
	return nil
}

// Leave gives back what was taken, when what was read is not held any longer.
func (b *Body) Leave() {
	b.d.bodies.all.leaveN(allBodies, b.taken)
	b.d.bodies.byIP.leaveN(b.ip, b.taken)
	b.taken = 0
}

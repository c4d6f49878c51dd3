package admission

import (
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// publishes are how much may be published: messages, and their bytes.
type publishes struct {
	toChannel, bytesToChannel *buckets[string]
	bySubject, bytesBySubject *buckets[who]
}

func newPublishes() publishes {
	return publishes{newBuckets[string](), newBuckets[string](), newBuckets[who](), newBuckets[who]()}
}

func (p *publishes) setLimits(l *Limits) {
	p.toChannel.setRate(l.Publishes)
	p.bytesToChannel.setRate(l.PublishBytes)
	p.bySubject.setRate(l.PublishesPerSub)
	p.bytesBySubject.setRate(l.PublishBytesPerSub)
}

// Publish takes n messages of c to a channel, of so many bytes in all.
func (d *Door) Publish(c Client, channel string, n, bytes int) error {
	now := time.Now()
	if of := c.who(); !c.Trusted && of != (who{}) {
		if wait := d.publishes.bySubject.take(of, n, now); wait > 0 {
			return d.refuse("publishes_per_sub", protocol.RateLimited, wait, "you publish more than %d messages a second: wait", d.Limits().PublishesPerSub)
		}
		if wait := d.publishes.bytesBySubject.take(of, bytes, now); wait > 0 {
			return d.refuse("publish_bytes_per_sub", protocol.RateLimited, wait, "you publish more than %d bytes a second: wait", d.Limits().PublishBytesPerSub)
		}
	}
	if wait := d.publishes.toChannel.take(channel, n, now); wait > 0 {
		return d.refuse("publishes", protocol.RateLimited, wait, "the channel gets more than %d messages a second: wait", d.Limits().Publishes)
	}
	if wait := d.publishes.bytesToChannel.take(channel, bytes, now); wait > 0 {
		return d.refuse("publish_bytes", protocol.RateLimited, wait, "the channel gets more than %d bytes a second: wait", d.Limits().PublishBytes)
	}
	return nil
}

// Fanout reports that a message of so many bytes to n channels takes too much of the log, or nil.
func (d *Door) Fanout(bytes, n int) error {
	if most := d.Limits().Fanout; most >= 0 && bytes > most/n {
		return d.refuse("fanout", protocol.TooLarge, 0, "%d bytes to %d channels are over the limit of %d bytes in all: name fewer channels in one request", bytes, n, most)
	}
	return nil
}

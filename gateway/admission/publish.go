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
	if err := d.publishBy(c, n, bytes, now); err != nil {
		return err
	}
	return d.publishTo(d.publishes.toChannel.take, d.publishes.bytesToChannel.take, channel, n, bytes, now)
}

// PublishToEach takes a message of c, of so many bytes, to each of the channels, or none.
func (d *Door) PublishToEach(c Client, channels []string, bytes int) error {
	now, p := time.Now(), &d.publishes
	for _, channel := range channels {
		if err := d.publishTo(p.toChannel.wait, p.bytesToChannel.wait, channel, 1, bytes, now); err != nil {
			return err
		}
	}
	if err := d.publishBy(c, len(channels), len(channels)*bytes, now); err != nil {
		return err
	}
	for _, channel := range channels { // what others took meanwhile is not waited for
		p.toChannel.take(channel, 1, now)
		p.bytesToChannel.take(channel, bytes, now)
	}
	return nil
}

// publishBy takes what c publishes from what it may, wherever to.
func (d *Door) publishBy(c Client, n, bytes int, now time.Time) error {
	if of := c.who(); !c.Trusted && of != (who{}) {
		if wait := d.publishes.bySubject.take(of, n, now); wait > 0 {
			return d.refuse("publishes_per_sub", protocol.RateLimited, wait, "you publish more than %d messages a second: wait", d.Limits().PublishesPerSub)
		}
		if wait := d.publishes.bytesBySubject.take(of, bytes, now); wait > 0 {
			return d.refuse("publish_bytes_per_sub", protocol.RateLimited, wait, "you publish more than %d bytes a second: wait", d.Limits().PublishBytesPerSub)
		}
	}
	return nil
}

// publishTo takes from, or looks at, what a channel may get.
func (d *Door) publishTo(messages, ofBytes func(string, int, time.Time) time.Duration, channel string, n, bytes int, now time.Time) error {
	if wait := messages(channel, n, now); wait > 0 {
		return d.refuse("publishes", protocol.RateLimited, wait, "the channel gets more than %d messages a second: wait", d.Limits().Publishes)
	}
	if wait := ofBytes(channel, bytes, now); wait > 0 {
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

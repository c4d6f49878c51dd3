package admission

import (
	"github.com/fairlead/fairlead/protocol"
)

// publishes are how much may be published: messages, and their bytes.
type publishes struct {
	toChannel *flows[string]
	bySubject *flows[who]
}

func newPublishes() publishes { return publishes{newFlows[string](), newFlows[who]()} }

func (p *publishes) setLimits(l *Limits) {
	p.toChannel.setRates(l.Publishes, l.PublishBytes)
	p.bySubject.setRates(l.PublishesPerSub, l.PublishBytesPerSub)
}

// A portion is what a channel gets of what is published.
type portion struct {
	channel  string
	n, bytes int
}

// Publish takes n messages of c to a channel, of so many bytes in all, or none.
func (d *Door) Publish(c Client, channel string, n, bytes int) error {
	return d.publish(c, []portion{{channel, n, bytes}}, n, bytes)
}

// PublishToEach takes a message of c, of so many bytes, to each of the channels,
// one of which may be there several times, or none.
func (d *Door) PublishToEach(c Client, channels []string, bytes int) error {
	times := make(map[string]int, len(channels))
	for _, channel := range channels {
		times[channel]++
	}
	portions := make([]portion, 0, len(times))
	for channel, n := range times {
		portions = append(portions, portion{channel, n, n * bytes})
	}
	return d.publish(c, portions, len(channels), len(channels)*bytes)
}

// publish takes all of the portions, n messages of so many bytes together, or
// gives back what it has taken: what is refused costs nothing.
func (d *Door) publish(c Client, portions []portion, n, bytes int) error {
	now, p := now(), &d.publishes
	if err := d.publishBy(c, n, bytes, now); err != nil {
		return err
	}
	for i, of := range portions {
		err := d.publishTo(of, now)
		if err == nil {
			continue
		}
		for _, of := range portions[:i] {
			p.toChannel.give(of.channel, of.n, of.bytes)
		}
		if c.publishesBySubject() {
			p.bySubject.give(c.who(), n, bytes)
		}
		return err
	}
	return nil
}

// publishesBySubject tells whether the limits of a subject hold for c.
func (c Client) publishesBySubject() bool { return !c.Trusted && c.who() != (who{}) }

// publishBy takes what c publishes from what it may, wherever to, or nothing.
func (d *Door) publishBy(c Client, n, bytes int, now moment) error {
	if !c.publishesBySubject() {
		return nil
	}
	switch wait, waitBytes := d.publishes.bySubject.take(c.who(), n, bytes, now); {
	case wait > 0:
		return d.refuse("publishes_per_sub", protocol.RateLimited, wait, "you publish more than %d messages a second: wait", d.Limits().PublishesPerSub)
	case waitBytes > 0:
		return d.refuse("publish_bytes_per_sub", protocol.RateLimited, waitBytes, "you publish more than %d bytes a second: wait", d.Limits().PublishBytesPerSub)
	}
	return nil
}

// publishTo takes a portion from what its channel may get, or nothing.
func (d *Door) publishTo(of portion, now moment) error {
	switch wait, waitBytes := d.publishes.toChannel.take(of.channel, of.n, of.bytes, now); {
	case wait > 0:
		return d.refuse("publishes", protocol.RateLimited, wait, "the channel gets more than %d messages a second: wait", d.Limits().Publishes)
	case waitBytes > 0:
		return d.refuse("publish_bytes", protocol.RateLimited, waitBytes, "the channel gets more than %d bytes a second: wait", d.Limits().PublishBytes)
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

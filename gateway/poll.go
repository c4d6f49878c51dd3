package gateway

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// defaultWait is how long a poll that does not say waits.
const defaultWait = 25 * time.Second

// What one answer holds at most; the next poll gets the rest.
const (
	pollBytes    = 1 << 20
	pollMessages = 1000
)

// servePoll answers one long-poll. There is no attachment: the next poll may
// go to any node.
func (g *Gateway) servePoll(w http.ResponseWriter, r *http.Request, from client, hello *protocol.Hello) error {
	if err := g.checkHello(hello); err != nil {
		return err
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.wg.Done()
	gauge := g.metrics.attachments.WithLabelValues(string(protocol.Poll))
	gauge.Inc()
	defer gauge.Dec()

	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // at which HTTP/2 ends a stream that waits as well
	p := poll{g: g, from: from, session: hello.Session, since: time.Now(), reader: g.broker.NewReader(nil)}
	defer p.reader.Close()
	p.held = g.door.Answer(from.counted())
	defer p.held.Leave()
	p.reader.SetClient(g.reads(from))
	p.body = append(p.body, `{"frames":[`...)
	welcome, refused, err := g.subscribeAll(r.Context(), p.reader, hello, from.grant)
	if err != nil {
		return err
	}
	if hello.Session == "" || hello.Welcome {
		welcome.Session, welcome.Transport = sessionOf(hello), protocol.Poll
		welcome.Beat, welcome.Net = g.beat(hello.Beat).Milliseconds(), g.netOf(from)
		p.add(welcome.Wire())
	}
	for _, frame := range refused {
		p.add(frame)
	}
	wait := g.waitOf(hello)
	if len(refused) > 0 {
		wait = 0 // so that the next poll does not ask for them
	}
	drained, err := p.wait(r.Context(), wait)
	if err != nil {
		return err
	}
	if drained {
		p.add(protocol.Goaway(0, "drain"))
	}
	if r.Context().Err() != nil {
		return nil // nobody is there to read it
	}
	p.body = append(p.body, `],"id":"`...)
	p.body = p.reader.Watermark().Append(p.body)
	p.body = append(p.body, `"}`...)
	g.metrics.out[protocol.Poll].bytes.Add(float64(len(p.body)))
	g.writeJSON(w, http.StatusOK, p.body, p.held)
	return nil
}

// waitOf is how long the poll may take.
func (g *Gateway) waitOf(hello *protocol.Hello) time.Duration {
	limit := g.limits().Wait
	if hello.Wait == nil {
		return min(defaultWait, limit)
	}
	return time.Duration(min(*hello.Wait, limit.Seconds()) * float64(time.Second))
}

// poll gathers one answer.
type poll struct {
	g       *Gateway
	from    client
	session string
	since   time.Time
	reader  *broker.Reader
	body    []byte
	held    *admission.Answer // for body
	frames  int
}

func (p *poll) add(w protocol.Wire) {
	if p.frames++; p.frames > 1 {
		p.body = append(p.body, ',')
	}
	p.body = append(p.body, w.JSON()...)
}

// wait adds what there is, as soon as there is something, or nothing after d.
// It reports whether a drain ended it, or that the grant has come to its end.
func (p *poll) wait(ctx context.Context, d time.Duration) (drained bool, err error) {
	limit := d
	if d == 0 {
		limit = catchUpGrace
	}
	if over := p.g.over(p.from.grant); !over.IsZero() {
		limit = min(limit, time.Until(over))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	drain := p.g.drain
	var leave <-chan time.Time
	for {
		changed := p.g.access.changed() // before looking: a change meanwhile is not missed
		ended, err := p.regrant()
		if err != nil {
			return false, err
		}
		took, err := p.take()
		if took || err != nil || ended || d == 0 && !p.reader.CatchingUp() {
			return false, err
		}
		select {
		case <-p.reader.Wakes():
		case <-changed:
		case <-drain:
			drain, leave = nil, time.After(rand.N(p.g.options.DrainWindow))
		case <-leave:
			return true, nil
		case <-ctx.Done():
			return false, nil
		}
	}
}

// regrant looks at the poll's grant again, and adds what tells of the
// subscriptions that have ended by that, if any have.
func (p *poll) regrant() (ended bool, err error) {
	now, err := p.g.again(p.from.grant, p.session)
	if err != nil || now == p.from.grant {
		return false, err
	}
	p.from.grant = now
	for _, frame := range endUngranted(p.reader, now) {
		p.add(frame)
		ended = true
	}
	return ended, nil
}

// catchUpGrace is how long a poll that does not want to wait does so all the
// same while the stored log is read for it.
const catchUpGrace = 5 * time.Second

// take adds what there is, and reports whether there was anything. Who does not
// read their answers may be refused the first of it, or not get all at once.
func (p *poll) take() (took bool, err error) {
	var batch [takeBatch]*broker.Entry
	into := batch[:]
	out := p.g.metrics.out[protocol.Poll]
	before := p.frames
	for len(p.body) < pollBytes && p.frames < pollMessages && (p.frames == before || p.held.Gather() == nil) {
		n := p.reader.TryNext(into)
		if p.frames == before {
			if n == 0 {
				break
			}
			if err := p.held.Take(sizeOf(into[:n])); err != nil {
				return false, err
			}
		}
		now := time.Now()
		for _, e := range into[:n] {
			p.add(e.Wire)
			if e.Time.After(p.since) {
				out.delivery.Observe(now.Sub(e.Time).Seconds())
			}
		}
		p.held.Has(len(p.body))
		out.messages.Add(float64(n))
		if n < len(into) {
			break
		}
	}
	return p.frames > before, nil
}

// sizeOf is how many bytes entries make in an answer.
func sizeOf(entries []*broker.Entry) (n int) {
	for _, e := range entries {
		n += e.Wire.Len()
	}
	return n
}

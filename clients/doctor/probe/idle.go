package probe

import (
	"context"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// hold attaches by t once more and leaves it alone for the idle time, with the
// rarest beats that the server grants, to find out whether it is cut.
func (p *patient) hold(ctx context.Context, t protocol.Transport) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, p.idle)
	defer cancel()
	line := newTimeline(t, p.idle)
	touched := time.Now()
	touch := func() {
		if line.seen.End == "" && ctx.Err() == nil {
			touched = time.Now()
		}
	}
	never := func() bool { return false }
	switch t {
	case protocol.WebSocket:
		p.talk(ctx, line, touch, never)
	case protocol.Poll:
		p.ask(ctx, line, http.MethodPost, p.idle.Seconds())
	default:
		p.follow(ctx, t, line, touch, never)
	}
	line.seen.Token = p.token != ""
	return doctor.JudgeIdle(line.now(), milliseconds(time.Since(touched)), line.seen)
}

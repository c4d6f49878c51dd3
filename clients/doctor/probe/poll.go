package probe

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// poll observes a poll by POST, as clients make it, and whether a repeated one by GET comes from a cache.
func (p *patient) poll(ctx context.Context) doctor.Observation {
	line := newTimeline(protocol.Poll, p.timeout)
	posting, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	p.ask(posting, line, http.MethodPost, 0)
	ctx, cancel = context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var sessions [2]string
	for i := range sessions {
		get := newTimeline(protocol.Poll, p.timeout)
		answer := p.ask(ctx, get, http.MethodGet, 0)
		if answer == nil {
			return line.seen
		}
		sessions[i] = answer.session
		line.seen.GetWorks = true
		// Each poll without a session is given another one.
		line.seen.Cached = answer.aged || i > 0 && sessions[0] == sessions[1]
	}
	return line.seen
}

// polled is what a poll's answer shows.
type polled struct {
	session string
	aged    bool // it has been in a cache
}

var errPartial = errors.New("the answer is not whole")

// ask makes one poll. It returns nil unless the answer is whole.
func (p *patient) ask(ctx context.Context, line *timeline, method string, wait float64) *polled {
	response, err := p.attach(ctx, method, protocol.MediaJSON, wait)
	if err != nil {
		line.failed(ctx, err)
		return nil
	}
	defer response.Body.Close()
	line.answered(response)
	if response.StatusCode != http.StatusOK || line.seen.Code != "" {
		return nil
	}
	body, err := plain(response)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(body, maxFrame))
	}
	var answer struct {
		Frames []struct{ Op, Session string }
		ID     *protocol.Cursor
	}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil && (answer.ID == nil || len(answer.Frames) == 0 || answer.Frames[0].Op != protocol.OpWelcome) {
		err = errPartial
	}
	if err != nil {
		line.failed(ctx, err)
		return nil
	}
	line.seen.Welcome = line.now()
	return &polled{session: answer.Frames[0].Session, aged: response.Header.Get("Age") > "0"}
}

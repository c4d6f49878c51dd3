package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// handleHistory is GET …/messages.
func (g *Gateway) handleHistory(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	channel, err := channelOf(r)
	if err != nil {
		return err
	}
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	var part protocol.Range
	if part.After, err = cursorFromQuery(q, "after"); err != nil {
		return err
	}
	if part.Before, err = cursorFromQuery(q, "before"); err != nil {
		return err
	}
	if part.Last, err = countFromQuery(q, "last"); err != nil {
		return err
	}
	if part.Limit, err = countFromQuery(q, "limit"); err != nil {
		return err
	}
	held := g.door.Answer(from.counted())
	defer held.Leave()
	page, err := g.history(r.Context(), caller{from: from, held: held}, channel, part)
	if err != nil {
		return err
	}
	body, err := json.Marshal(page)
	if err != nil {
		return err
	}
	g.writeJSON(w, http.StatusOK, body, held)
	return nil
}

// defaultPage is how many messages a page holds if nobody says.
const defaultPage = 100

// page is a page of history as it is answered.
type page struct {
	Messages []rawFrame      `json:"messages"`
	Next     protocol.Cursor `json:"next,omitempty"`
	Gap      *protocol.Gap   `json:"gap,omitempty"`
}

// rawFrame is a frame that is encoded already.
type rawFrame []byte

func (f rawFrame) MarshalJSON() ([]byte, error) { return f, nil }

// history reads a page of a channel, for a request or a command, and holds it
// for what is answered.
func (g *Gateway) history(ctx context.Context, by caller, channel string, part protocol.Range) (*page, error) {
	if err := part.Check(); err != nil {
		return nil, err
	}
	if err := maySubscribe(by.from.grant, channel); err != nil {
		return nil, err
	}
	limit, err := g.pageLimit(part)
	if err != nil {
		return nil, err
	}
	done, err := g.door.Read(by.from.counted())
	if err != nil {
		return nil, err
	}
	defer done()
	held := by.held
	if held == nil { // the reply is held by the attachment that is owed it
		held = g.door.Answer(by.from.counted())
		defer held.Leave()
	}
	before := held.Bytes()
	if err := held.Gather(); err != nil {
		return nil, err
	}
	found, err := g.readHistory(ctx, by, channel, part, limit)
	if err != nil {
		return nil, err
	}
	p, size := &page{Messages: make([]rawFrame, len(found.Messages)), Next: found.Next, Gap: found.Gap}, 0
	for i, e := range found.Messages {
		p.Messages[i] = e.Wire.JSON()
		size += len(p.Messages[i])
	}
	held.Has(before + size)
	return p, nil
}

// pageLimit is how many messages a page of that part holds.
func (g *Gateway) pageLimit(part protocol.Range) (int, error) {
	most := g.limits().History
	switch {
	case part.Limit > most || part.Last > most:
		g.countRefused("history")
		return 0, protocol.Errorf(protocol.BadRequest, "a page may hold at most %d messages: ask for that many, and then for the next page", most)
	case part.Limit == 0 && part.Last == 0:
		return min(defaultPage, most), nil
	default:
		return cmp.Or(part.Limit, part.Last), nil
	}
}

// readHistory reads in turn with others, for who may still read it afterwards.
func (g *Gateway) readHistory(ctx context.Context, by caller, channel string, part protocol.Range, limit int) (broker.Page, error) {
	found, err := g.broker.HistoryFor(ctx, g.reads(by.from), channel, part, limit)
	if err != nil {
		return broker.Page{}, err
	}
	grant := by.from.grant
	if by.own() {
		grant = by.attachment.grant.Load() // it may have been renewed meanwhile
	}
	if grant, err = g.again(grant, by.session); err != nil {
		return broker.Page{}, err
	}
	return found, maySubscribe(grant, channel)
}

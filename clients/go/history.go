package fairlead

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fairlead/fairlead/protocol"
)

// A Page is a part of a channel's history, the oldest message first.
type Page struct {
	Messages []Message
	// Next is where the next page begins: the After of one further on, or the
	// Before of one further back. Nil: there is none.
	Next *protocol.Cursor
	// Gap tells what is not in the log any more of what was asked for. Nil: nothing.
	Gap *protocol.Gap
}

// History reads a page of the channel. It is retried as Publish is.
func (c *Client) History(ctx context.Context, channel string, part protocol.Range) (*Page, error) {
	err := protocol.CheckChannel(channel)
	if err == nil {
		err = part.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("fairlead: history: %w", err)
	}
	address := c.messages(channel)
	address.RawQuery = query(part).Encode()
	var page *Page
	err = c.retry(ctx, retryWindow, func() (err error) {
		page, err = c.page(ctx, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fairlead: history of %s: %w", channel, err)
	}
	return page, nil
}

func query(part protocol.Range) url.Values {
	q := url.Values{}
	switch {
	case part.After != nil:
		q.Set("after", part.After.String())
	case part.Before != nil:
		q.Set("before", part.Before.String())
	case part.Last != 0:
		q.Set("last", strconv.Itoa(part.Last))
	}
	if part.Limit != 0 {
		q.Set("limit", strconv.Itoa(part.Limit))
	}
	return q
}

func (c *Client) page(ctx context.Context, address *url.URL) (*Page, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*attemptLimit) // a page may be large
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	var wire struct {
		Messages []json.RawMessage `json:"messages"`
		Next     *protocol.Cursor  `json:"next"`
		Gap      *protocol.Gap     `json:"gap"`
	}
	if err := c.call(r, &wire); err != nil {
		return nil, err
	}
	page := &Page{Messages: make([]Message, len(wire.Messages)), Next: wire.Next, Gap: wire.Gap}
	for i, raw := range wire.Messages {
		if err := page.Messages[i].decode(raw); err != nil {
			return nil, err
		}
	}
	return page, nil
}

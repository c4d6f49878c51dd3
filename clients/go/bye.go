package fairlead

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/fairlead/fairlead/protocol"
)

// opBye is the frame that ends an attachment.
var opBye = []byte(`{"op":"bye"}`)

// opAuth is the command that gives an attachment the token of its request.
var opAuth = []byte(`{"op":"auth","cid":1}`)

// bye ends an attachment that has no way up of its own, which a proxy may keep open for long.
func (c *Client) bye(ctx context.Context, session, attachment string, t *token) error {
	ctx, cancel := context.WithTimeout(ctx, byeLimit)
	defer cancel()
	_, err := c.command(ctx, session, attachment, t, opBye)
	return err
}

// auth gives an attachment that has no way up of its own the token.
func (c *Client) auth(ctx context.Context, session, attachment string, t *token) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	replies, err := c.command(ctx, session, attachment, t, opAuth)
	if err != nil {
		return nil, err
	}
	if len(replies) != 1 {
		return nil, errors.New("the command was not answered")
	}
	return &replies[0], replies[0].err()
}

// command sends a command to an attachment by a request of its own (PROTOCOL.md 4.1).
func (c *Client) command(ctx context.Context, session, attachment string, t *token, command []byte) ([]reply, error) {
	body, err := json.Marshal(map[string]any{
		"session": session, "attachment": attachment, "commands": []json.RawMessage{command},
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("commands").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", protocol.MediaJSON)
	var answer struct {
		Replies []reply `json:"replies"`
	}
	err = c.callWith(t, r, &answer)
	return answer.Replies, err
}

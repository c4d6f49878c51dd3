package fairlead

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/fairlead/fairlead/protocol"
)

// opBye is the frame that ends an attachment.
var opBye = []byte(`{"op":"bye"}`)

// bye ends an attachment that has no way up of its own, which a proxy may keep open for long.
func (c *Client) bye(ctx context.Context, session, attachment string) error {
	ctx, cancel := context.WithTimeout(ctx, byeLimit)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"session": session, "attachment": attachment, "commands": []json.RawMessage{opBye},
	})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("commands").String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", protocol.MediaJSON)
	return c.call(r, &struct{}{})
}

package fairlead

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// A Publication is a message before the log has it. Its Data is JSON; JSON,
// Text and Bytes make one of other things.
type Publication = protocol.Publication

// JSON is a publication of v as encoding/json marshals it.
func JSON(v any) (Publication, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Publication{}, fmt.Errorf("fairlead: publish: %w", err)
	}
	return Publication{Data: data}, nil
}

// Text is a publication of s as a JSON string. What is not UTF-8 in it is replaced: use Bytes.
func Text(s string) Publication {
	data, _ := json.Marshal(s) // a string always marshals
	return Publication{Data: data}
}

// Bytes is a publication of b as it is.
func Bytes(b []byte) Publication {
	return Publication{Data: json.RawMessage(`"` + base64.StdEncoding.EncodeToString(b) + `"`), Encoding: protocol.EncodingBase64}
}

// A Receipt says that a message is stored.
type Receipt struct {
	ID        protocol.ID `json:"id"`
	Duplicate bool        `json:"duplicate"` // the key had been stored before, and ID is the first one's
}

// retryWindow is how long a publish is retried. It ends before the server
// forgets keys (stream.dedupe, 2 minutes by default): a later retry of a
// message that was stored after all would store it twice.
const retryWindow = 100 * time.Second

// attemptLimit bounds one attempt of a request that is answered at once.
const attemptLimit = 15 * time.Second

// Publish appends to the channel and returns when the log has stored it. A
// publication without a key gets one, so that it is stored once although the
// request is retried, until ctx is done or for 100 seconds. After an error
// that is no *protocol.Error the message may have been stored nevertheless: to
// try again, give the same key.
func (c *Client) Publish(ctx context.Context, channel string, p Publication) (*Receipt, error) {
	if err := checkPublication(channel, &p); err != nil {
		return nil, fmt.Errorf("fairlead: publish: %w", err)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("fairlead: publish to %s: %w", channel, err)
	}
	receipt := new(Receipt)
	err = c.retry(ctx, retryWindow, func() error {
		return c.post(ctx, channel, body, receipt)
	})
	if err != nil {
		return nil, fmt.Errorf("fairlead: publish to %s: %w", channel, err)
	}
	return receipt, nil
}

func (c *Client) post(ctx context.Context, channel string, body []byte, receipt *Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.messages(channel).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", protocol.MediaJSON)
	err = c.call(r, receipt)
	if err == nil && receipt.ID == (protocol.ID{}) {
		err = &StatusError{Status: http.StatusOK} // some JSON, but nobody has stored anything
	}
	return err
}

// checkPublication checks what the server would refuse, and gives p a key if it has none.
func checkPublication(channel string, p *Publication) error {
	if p.Key == "" {
		p.Key = rand.Text()
	}
	if err := protocol.CheckChannel(channel); err != nil {
		return err
	}
	return p.Check()
}

package fairlead

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// maxAnswer bounds what is read of an answer that is not a stream, and of one frame.
const maxAnswer = 64 << 20

// A StatusError is an HTTP answer that no Fairlead gave: of a proxy, or of another server.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // 0: nothing was said
	Target     string        // the origin that it redirects to, where a token is not sent; empty: none
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("an answer that is not Fairlead's: %d %s", e.Status, http.StatusText(e.Status))
	if e.Target != "" {
		text += " to " + e.Target + ", where the token is not sent: give the client that address"
	}
	return text
}

// call makes one request, with the latest token, and unmarshals its answer,
// which must be of a 2xx status, into result. An error may be a refusal.
func (c *Client) call(r *http.Request, result any) error {
	t, err := c.tokens.get(r.Context(), 0, false)
	if err != nil {
		return err
	}
	return c.blame(t, c.callWith(t, r, result))
}

// callWith is call with that token, nil for none.
func (c *Client) callWith(t *token, r *http.Request, result any) error {
	response, err := c.do(r, t)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := checkStatus(response); err != nil {
		return err
	}
	if !isMedia(response, protocol.MediaJSON) {
		return &StatusError{Status: response.StatusCode} // a captive portal answers 200, too
	}
	body, err := readAll(response.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, result); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

const mediaProblem = "application/problem+json" // RFC 9457

// checkStatus is nil for a 2xx; otherwise it reads the answer and is its statusError.
func checkStatus(response *http.Response) error {
	if response.StatusCode/100 == 2 {
		return nil
	}
	body, err := readAll(response.Body)
	if err != nil {
		body = nil
	}
	return statusError(response, body)
}

// statusError is nil for a 2xx, else a *protocol.Error if Fairlead answered or a *StatusError.
func statusError(response *http.Response, body []byte) error {
	if response.StatusCode/100 == 2 {
		return nil
	}
	wait := retryAfter(response.Header.Get("Retry-After"))
	var problem struct {
		Code   protocol.Code `json:"code"`
		Detail string        `json:"detail"`
	}
	if isMedia(response, mediaProblem) && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		return &protocol.Error{Code: problem.Code, Message: problem.Detail, RetryAfter: wait}
	}
	e := &StatusError{Status: response.StatusCode, RetryAfter: wait}
	if target, err := response.Location(); err == nil && response.StatusCode/100 == 3 {
		e.Target = target.Scheme + "://" + target.Host
	}
	return e
}

// retryAfter is the wait that a Retry-After field asks for (RFC 9110, section 10.2.3), in seconds; 0 if none.
func retryAfter(field string) time.Duration {
	seconds, err := strconv.ParseUint(field, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func isMedia(response *http.Response, media string) bool {
	got, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && got == media
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer is over %d bytes", maxAnswer)
	}
	return body, err
}

// Ping asks the gateway for the log's position and the time.
func (c *Client) Ping(ctx context.Context) (*Pong, error) {
	t, err := c.tokens.get(ctx, 0, false)
	if err != nil {
		return nil, fmt.Errorf("fairlead: ping: %w", err)
	}
	return c.ping(ctx, t)
}

// ping needs no token: somebody on the way may.
func (c *Client) ping(ctx context.Context, t *token) (*Pong, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("ping").String(), nil)
	if err != nil {
		return nil, fmt.Errorf("fairlead: ping: %w", err)
	}
	r.Header.Set("Cache-Control", "no-store")
	var answer struct {
		ID   protocol.ID `json:"id"`
		Time int64       `json:"time"`
	}
	if err := c.callWith(t, r, &answer); err != nil {
		return nil, fmt.Errorf("fairlead: ping: %w", err)
	}
	if answer.ID == (protocol.ID{}) {
		return nil, errors.New("fairlead: ping: an answer that is not Fairlead's")
	}
	return &Pong{ID: answer.ID, Time: time.UnixMilli(answer.Time)}, nil
}

// A Pong is the answer to a ping.
type Pong struct {
	ID   protocol.ID // the log's position
	Time time.Time   // the gateway's clock
}

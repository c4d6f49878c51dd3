package fairlead

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	uploadIdle   = 10 * time.Second // the server ends a body that stalls for limits.body_stall, 30 s
	uploadAge    = 30 * time.Second // after which an upload ends, to learn what is stored
	uploadAnswer = 30 * time.Second // for the answer, beyond that
)

// An upload is one streamed request to publish, whose body takes lines for as
// long as they keep coming. Its methods are for the goroutine that began it.
type upload struct {
	lines chan []byte // unbuffered, so that the body never owns a line that was not read
	end   context.CancelFunc
	done  chan struct{} // closed when the answer is there

	// Set before done is closed.
	answer uploadAnswered
	err    error
}

type uploadAnswered struct {
	ID     protocol.ID `json:"id"`
	Stored int         `json:"stored"`
}

// startUpload begins the request. It outlives ctx, of which it takes the values.
func (c *Client) startUpload(ctx context.Context, channel string) *upload {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), uploadAge+uploadAnswer)
	u := &upload{lines: make(chan []byte), end: end, done: make(chan struct{})}
	go func() { // ends by itself when idle; wait and abort wait for it
		defer close(u.done)
		defer end()
		body := &uploadBody{ctx: ctx, lines: u.lines, until: time.Now().Add(uploadAge)}
		u.answer, u.err = c.upload(ctx, channel, body)
	}()
	return u
}

func (c *Client) upload(ctx context.Context, channel string, body io.Reader) (answer uploadAnswered, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.messages(channel).String(), io.NopCloser(body))
	if err != nil {
		return answer, err
	}
	r.Header.Set("Content-Type", protocol.MediaStream)
	t, err := c.tokens.get(ctx, 0, false)
	if err != nil {
		return answer, err
	}
	response, err := c.do(r, t)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	text, err := readAll(response.Body)
	if err != nil {
		return answer, err
	}
	if !isMedia(response, protocol.MediaJSON) && !isMedia(response, mediaProblem) {
		return answer, &StatusError{Status: response.StatusCode}
	}
	// A problem's stored and id say how far it got.
	err = errors.Join(json.Unmarshal(text, &answer), statusError(response, text))
	return answer, c.blame(t, err)
}

// send offers the line. It is not taken if the upload has ended, or if ctx is done, whose cause is the error.
func (u *upload) send(ctx context.Context, line []byte) (taken bool, err error) {
	select {
	case u.lines <- line:
		return true, nil
	case <-u.done:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// finish ends the body. It may be called once, and no send after it.
func (u *upload) finish() { close(u.lines) }

// wait returns the answer. If ctx ends first, so does the upload.
func (u *upload) wait(ctx context.Context) (uploadAnswered, error) {
	select {
	case <-u.done:
		return u.answer, u.err
	case <-ctx.Done():
		u.abort()
		return u.answer, context.Cause(ctx)
	}
}

// abort ends the request and waits until it has.
func (u *upload) abort() {
	u.end()
	<-u.done
}

// uploadBody is a body of the lines that come. It ends when none came for a
// while, and when it is old.
type uploadBody struct {
	ctx   context.Context // of the request
	lines <-chan []byte
	until time.Time
	rest  []byte
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		idle := time.NewTimer(min(uploadIdle, time.Until(b.until)))
		defer idle.Stop()
		select {
		case line, ok := <-b.lines:
			if !ok {
				return 0, io.EOF
			}
			b.rest = line
		case <-idle.C:
			return 0, io.EOF
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

package fairlead

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	streamCount = 1000    // messages that may wait for their answer
	streamBytes = 4 << 20 // and their size
	// streamRetry and uploadAge together are less than the time for which the
	// server remembers keys, as retryWindow is.
	streamRetry = time.Minute
)

// A Stream publishes one message after another, each as it is sent, through
// one request for as long as messages keep coming. The answer to a request
// comes at its end, so a Stream ends it when it is idle, after half a minute,
// or when much is unanswered, and begins another one. Messages whose request
// broke off are sent again with their keys: none is lost, none is stored
// twice, and their order remains. Not for concurrent use.
type Stream struct {
	client  *Client
	channel string
	lines   [][]byte // not known to be stored
	size    int      // of lines
	upload  *upload  // nil: none under way
	sent    int      // of lines, by upload
	result  Stored
}

// Stored says what became of a Stream.
type Stored struct {
	ID    protocol.ID // of the last message; zero: there was none
	Count int         // messages that are stored, those included whose keys had been stored before
}

// PublishStream begins a stream of messages to the channel. Close it.
func (c *Client) PublishStream(channel string) (*Stream, error) {
	if err := protocol.CheckChannel(channel); err != nil {
		return nil, fmt.Errorf("fairlead: publish: %w", err)
	}
	return &Stream{client: c, channel: channel}, nil
}

// Send sends one message, and gives it a key if it has none. It returns when
// the message is on its way; after an error the stream is of no more use, and
// Close tells how far it got.
func (s *Stream) Send(ctx context.Context, p Publication) error {
	if err := checkPublication(s.channel, &p); err != nil {
		return fmt.Errorf("fairlead: publish: %w", err)
	}
	line, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("fairlead: publish to %s: %w", s.channel, err)
	}
	if len(s.lines) >= streamCount || s.size+len(line) > streamBytes {
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	s.lines = append(s.lines, append(line, '\n'))
	s.size += len(line) + 1
	return s.wrap(s.client.retry(ctx, streamRetry, func() error { return s.offer(ctx) }))
}

// Flush returns when everything that was sent is stored.
func (s *Stream) Flush(ctx context.Context) error {
	return s.wrap(s.client.retry(ctx, streamRetry, func() error {
		if err := s.offer(ctx); err != nil || s.upload == nil {
			return err
		}
		s.upload.finish()
		return s.settle(ctx)
	}))
}

// Close flushes the stream, and says what became of it even if that fails.
func (s *Stream) Close(ctx context.Context) (*Stored, error) {
	err := s.Flush(ctx)
	if s.upload != nil {
		s.upload.abort()
		s.upload = nil
	}
	result := s.result
	return &result, err
}

func (s *Stream) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fairlead: publish to %s: %w", s.channel, err)
}

// offer hands every line to an upload, and begins one if need be.
func (s *Stream) offer(ctx context.Context) error {
	for s.sent < len(s.lines) {
		if s.upload == nil {
			s.upload = s.client.startUpload(ctx, s.channel)
		}
		taken, err := s.upload.send(ctx, s.lines[s.sent])
		switch {
		case err != nil:
			return err
		case taken:
			s.sent++
		default:
			if err := s.settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits for the answer to the upload and drops the lines that are
// stored. The others are to be sent again.
func (s *Stream) settle(ctx context.Context) error {
	answer, err := s.upload.wait(ctx)
	if stored := min(answer.Stored, s.sent); stored > 0 {
		s.result.ID = answer.ID
		s.result.Count += stored
		for _, line := range s.lines[:stored] {
			s.size -= len(line)
		}
		s.lines = s.lines[stored:]
	}
	s.upload, s.sent = nil, 0
	return err
}

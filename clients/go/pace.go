package fairlead

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

const (
	paceBase = 500 * time.Millisecond // the first wait is up to this
	paceCap  = 30 * time.Second       // and no wait is drawn from more
)

// pace spreads retries: each wait is drawn from a window that doubles (full
// jitter), so that clients that failed together do not come back together.
type pace struct {
	attempts int
	random   func() float64 // in [0, 1); nil is a random source
}

// next is how long to wait after one more failure. atLeast is what the server asked for.
func (p *pace) next(atLeast time.Duration) time.Duration {
	window := paceCap
	if p.attempts < 6 { // 500 ms << 6 is over the cap
		window = paceBase << p.attempts
	}
	p.attempts++
	random := p.random
	if random == nil {
		random = rand.Float64
	}
	return atLeast + time.Duration(random()*float64(window))
}

// askedWait is the wait that the server asked for with err.
func askedWait(err error) time.Duration {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.RetryAfter
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.RetryAfter
	}
	return 0
}

// isPassing tells whether the same request may succeed later.
func isPassing(err error) bool {
	if _, ok := errors.AsType[*refusal](err); ok {
		return true // with another token
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Code.Retryable()
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Status >= 500 || e.Status == 408 || e.Status == 429 || e.Status/100 == 2
	}
	return true // the network
}

// sleep waits for d or for ctx, whose cause it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retry calls attempt until it succeeds, fails for good, or the next attempt
// would begin later than limit after the first. If the server refuses the
// token, another is asked for, and the attempt is made again, at once unless that was revoked; it fails
// for good if there is no other, or if that is unauthorized too.
func (c *Client) retry(ctx context.Context, limit time.Duration, attempt func() error) error {
	begun := time.Now()
	var pace pace
	var refused *refusal // of the token that there was; nil: it is good, as far as is known
	for {
		err := c.replace(ctx, refused)
		if err == nil {
			err = attempt()
		}
		if err == nil || ctx.Err() != nil || !isPassing(err) {
			return err
		}
		before := refused
		if _, ok := errors.AsType[*tokenError](err); !ok {
			refused, _ = errors.AsType[*refusal](err)
		}
		if refused != nil && refused != before {
			switch {
			case before == nil && refused.revoked && sleep(ctx, tokenRevoked) != nil:
				return err
			case before == nil:
				c.log.Info("the token was refused: trying again with another", "error", err)
				continue
			case isUnauthorized(before) && isUnauthorized(err):
				return err
			}
		}
		wait := pace.next(askedWait(err))
		if time.Since(begun)+wait > limit {
			return err
		}
		c.log.Info("trying again", "wait", wait, "error", err)
		if !isAnswer(err) {
			c.http.CloseIdleConnections() // they may be as dead as the one that was used
		}
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

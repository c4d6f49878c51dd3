package fairlead

import (
	"errors"
	"net"
	"net/http"

	"github.com/fairlead/fairlead/protocol"
)

// A verdict says what the end of an attachment, or of an attempt at one, means.
type verdict int

const (
	lost      verdict = iota // it was good, and broke off
	over                     // the server asked for it
	away                     // the gateway cannot be reached: nothing is learned of the transport
	unwell                   // Fairlead is
	forgotten                // Fairlead does not know the session any more
	stale                    // it does not go on where the cursors are
	faulty                   // something on the way is unwell
	blocked                  // something on the way does not let the transport through
	refused                  // the server does not offer the transport
	rejected                 // the server does not take the token
	fatal                    // the server will never serve this subscription
)

// How attachments end without anybody's saying so.
var (
	errSilent    = errors.New("nothing came for too long")
	errNoWelcome = errors.New("no welcome came in time")
	errNoProof   = errors.New("no proof came in time: something on the way holds frames back")
	errLeft      = errors.New("the server asked for a new attachment")
	errStale     = errors.New("it does not go on where the subscription is")
)

// judge says what err, the end of an attachment, means. proven tells whether the attachment had been.
func judge(err error, proven bool) verdict {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		switch {
		case isDenial(e):
			return rejected
		case e.Code == "not_acceptable":
			return refused
		case e.Code == protocol.Gone || e.Code == "conflict":
			return forgotten
		case e.Code.Retryable():
			return unwell
		default:
			return fatal
		}
	}
	switch {
	case errors.Is(err, errStale):
		return stale
	case errors.Is(err, errLeft):
		return over
	}
	if e, ok := errors.AsType[*StatusError](err); ok && (e.Status >= 500 || e.Status == 429) {
		return faulty
	}
	switch {
	case proven:
		return lost
	case isDial(err):
		return away
	}
	return blocked
}

// isAnswer tells whether err is what somebody answered.
func isAnswer(err error) bool {
	if _, ok := errors.AsType[*protocol.Error](err); ok {
		return true
	}
	_, ok := errors.AsType[*StatusError](err)
	return ok || errors.Is(err, errNoUpgrade)
}

// isTimeout tells whether err is a proxy's answer to a poll that took the server longer than the proxy likes.
func isTimeout(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && (e.Status == http.StatusGatewayTimeout || e.Status == http.StatusRequestTimeout)
}

// isDial tells whether no connection came about, which is the same for every transport.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

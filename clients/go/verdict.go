package fairlead

import (
	"errors"
	"net"

	"github.com/fairlead/fairlead/protocol"
)

// A verdict says what the end of an attachment, or of an attempt at one, means.
type verdict int

const (
	lost      verdict = iota // it was good, and has ended: again
	over                     // the server asked for it: again
	away                     // the gateway cannot be reached: nothing is learned of the transport
	unwell                   // Fairlead is: again, by the same transport
	forgotten                // Fairlead does not know the session any more: again without it
	failed                   // something on the way is unwell: by the next transport
	blocked                  // something on the way does not let the transport through: by the next one
	heldBack                 // something on the way stopped letting it through: by the next one
	refused                  // the server does not offer the transport: never again
	fatal                    // the server will never serve this subscription
)

// judge says what err, the end of an attachment, means. proven tells whether
// the attachment had been, left whether the server had asked to go away.
func judge(err error, proven, left bool) verdict {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		switch {
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
	case left:
		return over
	case proven:
		return lost
	case isDial(err):
		return away
	}
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status >= 500 {
		return failed
	}
	return blocked
}

// isDial tells whether no connection came about, which is the same for every transport.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

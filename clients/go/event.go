package fairlead

import (
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// An Event is what Subscription.Next returns: a *Message, a *Gap, an *Attached or a *Detached.
type Event interface{ event() }

// A Gap says that messages of a channel that was subscribed to are not in the
// log any more; it comes before the first message after them.
type Gap struct{ protocol.Gap }

// Attached says that the subscription is being served. Polls that follow each other are one attachment here.
type Attached struct {
	Transport protocol.Transport
	Session   string
}

// Detached says that an attachment, or an attempt at one, has ended. The
// subscription goes on by itself, and nothing is lost by it.
type Detached struct {
	Transport protocol.Transport
	Err       error
	Retry     time.Duration // until the next attempt
}

func (*Message) event()  {}
func (*Gap) event()      {}
func (*Attached) event() {}
func (*Detached) event() {}

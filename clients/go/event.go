package fairlead

import (
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// An Event is what Subscription.Next returns: a *Message, a *Gap, an *Unsubscribed, an *Attached, a *Detached or an *Offline.
type Event interface{ event() }

// A Gap says that messages of a channel that was subscribed to are not in the
// log any more; it comes before the first message after them.
type Gap struct{ protocol.Gap }

// Attached says that the subscription is being served, and by what. One that
// follows another without a Detached between them is a switch: the new
// attachment had been made before the old one was ended. Polls that follow
// each other are one attachment here.
type Attached struct {
	Transport protocol.Transport
	Session   string
	From      protocol.Transport // what the last Attached said; empty: this is the first
	Reason    string             // why it is another attachment, for people; empty: there is nothing to say
}

// Unsubscribed says that the token does not allow a channel that was subscribed
// to, or not any more. It gets nothing from here on; the others go on. If none
// is left the subscription is over.
type Unsubscribed struct {
	Channel string // or pattern, as it was subscribed to
	Err     *protocol.Error
}

// Detached says that an attachment, or an attempt at one while there was none,
// has ended. The subscription goes on by itself, and nothing is lost by it.
type Detached struct {
	Transport protocol.Transport // empty: nothing is attempted, because there is no token
	Err       error
	Retry     time.Duration // until the next attempt; 0: one is under way
}

// Offline says that nothing answers at all: it is the network or the gateway,
// and no transport. The next Attached ends it.
type Offline struct{}

func (*Message) event()      {}
func (*Gap) event()          {}
func (*Unsubscribed) event() {}
func (*Attached) event()     {}
func (*Detached) event()     {}
func (*Offline) event()      {}

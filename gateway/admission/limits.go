package admission

import (
	"cmp"
	"time"
)

// Limits bound what clients may cost. The zero value of a field is its default.
// Those that count things at a time or a second are off if they are below zero;
// who was quiet may have BurstSeconds' worth of those a second at once.
//
// An address is one IPv4 address, or a /64 of IPv6. What comes from this
// machine, or from a trusted proxy that names nobody, is counted to none.
type Limits struct {
	Header     int           // bytes of a request's header: 32 KiB
	Frame      int           // bytes of one frame or message: 256 KiB
	Batch      int           // bytes of a request body with several of them: 8 MiB
	Fanout     int           // bytes that a message to many channels may take in the log: 32 MiB
	Channels   int           // subscriptions of one attachment: 1,000
	History    int           // messages of one page: 1,000
	Wait       time.Duration // of one poll: 55 s
	BodyStall  time.Duration // that a request's body may stand still: 30 s
	WriteStall time.Duration // that a client may take nothing of what it is sent: 2 min

	RequestsPerIP          int // at a time of one address, whatever for, with attachments other than WebSockets, until the answers are taken: 12,000
	Attachments            int // at a time, with those that are still beginning and polls that wait: 100,000
	AttachmentsPerIP       int // of one address: 10,000
	AttachmentsPerSub      int // of one subject: 1,000
	Attaches               int // a second: 5,000
	AttachesPerIP          int // of one address, of which as many as may begin at once may have yet to say who they are: 500
	Commands               int // a second, of one session; a poll that goes on is one: 1,000
	CommandsPerIP          int // of one address; what an origin publishes counts as well: 20,000
	Tickets                int // a second, of one subject or API key, or else address; one with more than 512 bytes of rights counts as several: 20
	Publishes              int // messages a second to one channel: 10,000
	PublishBytes           int // their bytes: 64 MiB
	GuessesPerIP           int // tokens, keys and tickets that are no good, a second, of one address: 100
	PublishesPerSub        int // messages a second of one subject, or of one address of clients without; API keys have no such limit: 1,000
	PublishBytesPerSub     int // their bytes: 8 MiB
	CatchUpsPerClient      int // reads of the stored log at a time for one subject or API key, or else address, of readers and of pages each: 2
	PatternsPerClient      int // different patterns that the attachments of one subject, or else address, follow; API keys may any number: 1,000
	SubscriptionsPerClient int // of the attachments of one subject or API key, or else address: 100,000
	ReadsPerIP             int // pages of history that are read at a time for one address; each holds a MiB of its share of Pending: 24
	Bodies                 int // bytes of bodies and messages that are still coming, of all clients; one address may have a quarter, and those together half of whom it is not known who they are: 256 MiB
	UploadsPerClient       int // streams of messages that one subject sends at a time, or else one address; API keys have no such limit: 100
	Pending                int // bytes that wait to be written, of all clients; one subject may have an eighth, or else one address, and an API key a half: 256 MiB
}

// WithDefaults are the limits that l stands for.
func (l Limits) WithDefaults() Limits {
	l.Header = cmp.Or(l.Header, 32<<10)
	l.Frame = cmp.Or(l.Frame, 256<<10)
	l.Batch = cmp.Or(l.Batch, 8<<20)
	l.Fanout = cmp.Or(l.Fanout, 32<<20)
	l.Channels = cmp.Or(l.Channels, 1000)
	l.History = cmp.Or(l.History, 1000)
	l.Wait = cmp.Or(l.Wait, 55*time.Second)
	l.BodyStall = cmp.Or(l.BodyStall, 30*time.Second)
	l.WriteStall = cmp.Or(l.WriteStall, 2*time.Minute)
	l.RequestsPerIP = cmp.Or(l.RequestsPerIP, 12_000)
	l.Attachments = cmp.Or(l.Attachments, 100_000)
	l.AttachmentsPerIP = cmp.Or(l.AttachmentsPerIP, 10_000)
	l.AttachmentsPerSub = cmp.Or(l.AttachmentsPerSub, 1000)
	l.Attaches = cmp.Or(l.Attaches, 5000)
	l.AttachesPerIP = cmp.Or(l.AttachesPerIP, 500)
	l.Commands = cmp.Or(l.Commands, 1000)
	l.CommandsPerIP = cmp.Or(l.CommandsPerIP, 20_000)
	l.Tickets = cmp.Or(l.Tickets, 20)
	l.Publishes = cmp.Or(l.Publishes, 10_000)
	l.PublishBytes = cmp.Or(l.PublishBytes, 64<<20)
	l.GuessesPerIP = cmp.Or(l.GuessesPerIP, 100)
	l.PublishesPerSub = cmp.Or(l.PublishesPerSub, 1000)
	l.PublishBytesPerSub = cmp.Or(l.PublishBytesPerSub, 8<<20)
	l.CatchUpsPerClient = cmp.Or(l.CatchUpsPerClient, 2)
	l.PatternsPerClient = cmp.Or(l.PatternsPerClient, 1000)
	l.SubscriptionsPerClient = cmp.Or(l.SubscriptionsPerClient, 100_000)
	l.ReadsPerIP = cmp.Or(l.ReadsPerIP, 24)
	l.Bodies = cmp.Or(l.Bodies, 256<<20)
	l.UploadsPerClient = cmp.Or(l.UploadsPerClient, 100)
	l.Pending = cmp.Or(l.Pending, 256<<20)
	return l
}

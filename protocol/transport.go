package protocol

import (
	"mime"
	"strconv"
	"strings"
)

// A Transport is a way in which frames travel.
type Transport string

// The transports, the best first.
const (
	WebSocket Transport = "websocket"
	SSE       Transport = "sse"
	Stream    Transport = "stream"
	Poll      Transport = "poll"
)

// Transports are all of them, the best first.
func Transports() []Transport { return []Transport{WebSocket, SSE, Stream, Poll} }

// The media types of the transports that are HTTP responses.
const (
	MediaSSE    = "text/event-stream"
	MediaStream = "application/x-ndjson"
	MediaJSON   = "application/json"
)

// Negotiate chooses the transport of a request to attach (PROTOCOL.md 3) from
// whether it asks for an upgrade to WebSocket and from its Accept header.
// Wildcards ask for nothing in particular, and get a poll.
func Negotiate(upgrade bool, accept string) Transport {
	if upgrade {
		return WebSocket
	}
	best, bestQ := Poll, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		var t Transport
		switch media {
		case MediaSSE:
			t = SSE
		case MediaStream:
			t = Stream
		case MediaJSON:
			t = Poll
		default:
			continue
		}
		if q > bestQ || q == bestQ && q > 0 && t.rank() < best.rank() {
			best, bestQ = t, q
		}
	}
	return best
}

func (t Transport) rank() int {
	switch t {
	case WebSocket:
		return 0
	case SSE:
		return 1
	case Stream:
		return 2
	default:
		return 3
	}
}

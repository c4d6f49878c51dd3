// Package fairlead is a client of Fairlead, the realtime gateway: it publishes
// exactly once, and subscribes to channels over whichever transport the
// network lets through. PROTOCOL.md is what it speaks.
//
// A subscription tries its transports one shortly after the other, trusts the
// first that is proven, and changes to a better one, or to another when one
// falls silent, before it ends the one that it has: no message is lost by it
// or comes twice. The first matter is decided by the link, the second by places.
package fairlead

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// Options are what a Client may be told. The zero value works.
type Options struct {
	// Transports are what may be used, the best first. Nil is automatic: websocket, sse, poll.
	Transports []protocol.Transport
	// Memory is what was learned about networks, which the caller may keep.
	// Nil is one of the client's own, which ends with it.
	Memory *Memory
	// HTTPClient carries every request, those of WebSocket too. It must have
	// no Timeout, which would end streams. Nil is one of the client's own.
	HTTPClient *http.Client
	// Token gives the token that requests are made with (PROTOCOL.md 2.5); an
	// empty one is not sent. It is called before the first request, again when
	// about a fifth of what the token had left is left, and when the gateway
	// refuses it: TokenRefused tells. Calls come one at a time; each ends within 10 s, when its
	// ctx is done. An error is no end: it is called again later. Nil: there is no token.
	//
	// The token is sent in the header Authorization, over https unless the
	// gateway's address says otherwise, and to no other origin: a redirect there is not followed.
	Token func(context.Context) (string, error)
	// Logger hears of retries and of the choice of transport. Nil is silence.
	Logger *slog.Logger
}

// A Client speaks to one gateway. It may be used from several goroutines.
type Client struct {
	base       *url.URL
	http       *http.Client
	transports []protocol.Transport
	memory     *Memory
	tokens     *tokens
	log        *slog.Logger
}

// New returns a client of the gateway at address, such as
// http://127.0.0.1:8080. It does not connect yet.
func New(address string, o Options) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("fairlead: %q is not the address of a gateway: give one such as http://127.0.0.1:8080", address)
	}
	c := &Client{base: base, transports: o.Transports, memory: o.Memory, tokens: newTokens(o.Token), log: o.Logger}
	for _, t := range c.transports {
		if !slices.Contains(protocol.Transports(), t) {
			return nil, fmt.Errorf("fairlead: %q is not a transport: there are websocket, sse, stream and poll", t)
		}
	}
	if len(c.transports) == 0 {
		c.transports = []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Poll}
	}
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{Transport: newTransport()}
	}
	own := *o.HTTPClient
	own.CheckRedirect = checkRedirect(own.CheckRedirect)
	c.http = &own
	if c.memory == nil {
		c.memory = new(Memory)
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.DisableCompression = true // a proxy that compresses a stream holds it back
	// A connection of HTTP/2 is used for new requests as long as it seems alive.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second}
	return t
}

// Close gives up the connections that no request uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// url is the address of a resource of the gateway; the parts are escaped.
func (c *Client) url(parts ...string) *url.URL {
	return c.base.JoinPath(append([]string{protocol.Version}, parts...)...)
}

// messages is the address of a channel's messages.
func (c *Client) messages(channel string) *url.URL {
	return c.url("channels", strings.ReplaceAll(url.PathEscape(channel), "+", "%2B"), "messages")
}

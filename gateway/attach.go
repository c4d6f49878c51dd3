package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/protocol"
)

// handleAttach is the one URL for all transports (PROTOCOL.md 3).
func (g *Gateway) handleAttach(w http.ResponseWriter, r *http.Request) error {
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	transport := protocol.Negotiate(upgrade, strings.Join(r.Header.Values("Accept"), ","))
	from := g.clientOf(r)
	if err := g.approach(from, transport); err != nil {
		return err
	}
	if err := checkAttach(w, r, upgrade); err != nil {
		return err
	}
	at := g.arrive(r, from)
	place, err := g.door.Attach(at.counted())
	if err != nil {
		return err
	}
	defer place.Leave()
	at.place = place
	hello, err := g.helloOf(w, r, at.from)
	if err != nil {
		return err
	}
	if err := protocol.CheckSession(hello.Session); err != nil {
		return err
	}
	switch {
	case transport == protocol.WebSocket:
		if len(hello.Channels) == 0 {
			hello = nil // it is the first frame
		}
		return g.serveWebSocket(w, r, at, hello)
	case transport == protocol.Poll && !goesOn(transport, hello):
		if err := g.door.Approach(from.counted()); err != nil {
			return err
		}
	}
	from, err = g.recognizeHello(r.Context(), at, transport, hello)
	if err != nil {
		return err
	}
	forget(r)
	switch transport {
	case protocol.SSE:
		return g.serveStream(w, r, overSSE, from, hello)
	case protocol.Stream:
		return g.serveStream(w, r, overStream, from, hello)
	default:
		return g.servePoll(w, r, from, hello)
	}
}

// approach takes what from may ask for before anything else of it is looked at:
// a new attachment, or a command for a poll, of which the hello tells whether it
// goes on.
func (g *Gateway) approach(from client, t protocol.Transport) error {
	if t == protocol.Poll {
		return g.door.Request(from.counted(), 1)
	}
	return g.door.Approach(from.counted())
}

// checkAttach reports what is wrong with the request before its body is read, or nil.
func checkAttach(w http.ResponseWriter, r *http.Request, upgrade bool) error {
	if r.Method == http.MethodGet && (r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor == 1) {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // or net/http waits for the body before it answers
		}
		return protocol.Errorf(protocol.BadRequest, "a GET has no body: send the hello with POST, or say in the query what it says")
	}
	if !upgrade && r.Header.Get("Sec-WebSocket-Key") != "" {
		// Answered at once, because a client that waits here waits in vain.
		return protocol.Errorf(protocol.BadRequest, "something between client and server took the Upgrade out of this WebSocket handshake: use another transport, or let it pass Upgrade and Connection")
	}
	return nil
}

// recognizeHello is who attaches, with the grant, and gives them a place among those of their own.
func (g *Gateway) recognizeHello(ctx context.Context, at arrival, t protocol.Transport, hello *protocol.Hello) (client, error) {
	if err := protocol.CheckSession(hello.Session); err != nil {
		return at.from, err
	}
	grant, err := g.settle(ctx, at, hello.Token, hello.Session)
	if err != nil {
		return at.from, err
	}
	hello.Token = "" // not to be kept
	from := at.from.with(grant)
	if err := g.door.RoomFor(from.counted()); err != nil {
		return at.from, err
	}
	if goesOn(t, hello) {
		err = g.door.Resume(from.counted(), hello.Session)
	} else {
		err = g.door.Begin()
	}
	if err != nil {
		return at.from, err
	}
	return from, at.place.Admit(grant.Subject)
}

// goesOn tells whether the hello is a poll after another, which counts as a
// command of its session; else it begins an attachment.
func goesOn(t protocol.Transport, hello *protocol.Hello) bool {
	return t == protocol.Poll && hello.Session != "" && !hello.Welcome
}

// forget drops what a request showed: its handler may hold it for hours.
func forget(r *http.Request) {
	r.Header, r.RequestURI, r.URL = nil, "", new(url.URL)
}

// helloOf is the hello in the request: a POST's body, or a GET's query and Last-Event-ID.
func (g *Gateway) helloOf(w http.ResponseWriter, r *http.Request, from client) (*protocol.Hello, error) {
	if r.Method == http.MethodPost {
		body, err := g.readBody(w, r, from, g.frameLimit())
		if err != nil {
			return nil, err
		}
		return protocol.ParseHello(body, g.limits().Channels)
	}
	q, err := queryOf(r)
	if err != nil {
		return nil, err
	}
	return helloFromQuery(q, r.Header.Get("Last-Event-ID"))
}

// queryOf is the URL's query. r.URL.Query would leave out what it cannot read.
func queryOf(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, protocol.Errorf(protocol.BadRequest, "the query is not percent-encoded (RFC 3986, section 2.1)")
	}
	return q, nil
}

// checkHello reports what is wrong with the hello, or nil.
func (g *Gateway) checkHello(h *protocol.Hello) error {
	if len(h.Channels) > g.limits().Channels {
		g.countRefused("channels")
	}
	return h.Check(g.limits().Channels)
}

func helloFromQuery(q url.Values, lastEventID string) (*protocol.Hello, error) {
	h := &protocol.Hello{Session: q.Get("session"), Channels: map[string]protocol.Start{}}
	start, err := startFromQuery(q, lastEventID)
	if err != nil {
		return nil, err
	}
	for _, name := range q["channel"] {
		h.Channels[name] = start
	}
	if s := q.Get("wait"); s != "" {
		wait, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, protocol.Errorf(protocol.BadRequest, "wait is not a number of seconds")
		}
		h.Wait = &wait
	}
	if s := q.Get("beat"); s != "" {
		if h.Beat, err = strconv.ParseInt(s, 10, 64); err != nil {
			return nil, protocol.Errorf(protocol.BadRequest, "beat is not a number of milliseconds")
		}
	}
	return h, nil
}

// startFromQuery is where all the channels of a GET start. What a reconnecting
// EventSource says of its place counts more than its URL, which is as old as its first connection.
func startFromQuery(q url.Values, lastEventID string) (protocol.Start, error) {
	for _, name := range []string{"lastEventId", "last_event_id"} {
		if lastEventID == "" {
			lastEventID = q.Get(name)
		}
	}
	if lastEventID != "" {
		q = url.Values{"after": {lastEventID}}
	}
	var start protocol.Start
	var err error
	if start.After, err = cursorFromQuery(q, "after"); err != nil {
		return start, err
	}
	if start.Last, err = countFromQuery(q, "last"); err != nil {
		return start, err
	}
	return start, start.Check()
}

func cursorFromQuery(q url.Values, name string) (*protocol.Cursor, error) {
	s := q.Get(name)
	if s == "" {
		return nil, nil
	}
	cursor, err := protocol.ParseCursor(s)
	if err != nil {
		return nil, err
	}
	return &cursor, nil
}

// countFromQuery is a number that counts, or 0 if it is not given.
func countFromQuery(q url.Values, name string) (int, error) {
	s := q.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, protocol.Errorf(protocol.BadRequest, "%s is not a number", name)
	}
	return n, nil
}

// sessionOf is the hello's session, or a new one.
func sessionOf(hello *protocol.Hello) string {
	if hello.Session != "" {
		return hello.Session
	}
	return rand.Text()
}

package fairlead

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/protocol"
)

const fakeBeat = 4 * time.Second

// fake is a server of the protocol for one channel, chat.1, in memory, with faults to order.
type fake struct {
	// fault is asked before each attachment, counted from 1 for each transport,
	// and may take it over; it returns false for an attachment in order.
	fault func(t protocol.Transport, n int, out *outlet) bool
	beat  time.Duration // what is granted
	net   string        // what the welcome says
	// refuse is asked before each other request, and may answer it.
	refuse func(w http.ResponseWriter, r *http.Request) bool
	guard  *guard // of tokens; nil: the fake is open

	mu       sync.Mutex
	epoch    string
	log      []protocol.Message
	grown    chan struct{} // closed and replaced when log grows
	keys     map[string]protocol.ID
	attaches []string
	hellos   []*protocol.Hello
	counts   map[protocol.Transport]int
	byes     []string // the transports that were left with one
	network  *pipeListener
}

// outlet is the server's end of one attachment.
type outlet struct {
	transport protocol.Transport
	w         http.ResponseWriter
	r         *http.Request
	hello     *protocol.Hello
	send      func(protocol.Wire) error
	conn      net.Conn // of a WebSocket
	frames    []json.RawMessage
	grant     *grant // nil: the fake is open
	id        string
	changed   chan struct{} // takes one when the grant has changed
	replies   chan protocol.Wire
}

// newFake starts a fake and returns a client of it. Everything happens in the
// test's bubble, over pipes.
func newFake(t *testing.T, o Options) (*fake, *Client) {
	t.Helper()
	f := &fake{epoch: "a", beat: fakeBeat, grown: make(chan struct{}), keys: map[string]protocol.ID{}, counts: map[protocol.Transport]int{}}
	listener := newPipeListener()
	f.network = listener
	server := &http.Server{Handler: f}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	if o.HTTPClient == nil {
		o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
	}
	c, err := New("http://fake", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		_ = server.Close()
		<-served
	})
	return f, c
}

func (f *fake) publish(texts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, text := range texts {
		f.append(&Publication{Data: json.RawMessage(`"` + text + `"`)})
	}
}

// append stores a publication. f.mu is held.
func (f *fake) append(p *Publication) (id protocol.ID, duplicate bool) {
	if id, ok := f.keys[p.Key]; ok && p.Key != "" {
		return id, true
	}
	id = protocol.ID{Epoch: f.epoch, Seq: uint64(len(f.log) + 1)}
	f.keys[p.Key] = id
	f.log = append(f.log, protocol.Message{ID: id, Channel: "chat.1", Type: p.Type, Payload: p.Data, Time: time.Now(), Key: p.Key})
	close(f.grown)
	f.grown = make(chan struct{})
	return id, false
}

// after returns the messages after the cursor and a channel that closes when there are more.
func (f *fake) after(seq uint64) ([]protocol.Message, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log[min(seq, uint64(len(f.log))):]), f.grown
}

func (f *fake) end() protocol.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return protocol.ID{Epoch: f.epoch, Seq: uint64(len(f.log))}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/attach" {
		f.attach(w, r)
		return
	}
	if f.refuse != nil && f.refuse(w, r) {
		return
	}
	if err := f.guard.admit(w, r); err != nil {
		problem(w, err)
		return
	}
	switch {
	case r.URL.Path == "/v1/ping":
		answer(w, 200, map[string]any{"id": f.end(), "time": time.Now().UnixMilli()})
	case r.URL.Path == "/v1/commands":
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"op":"bye"`) {
			f.bye(string(body))
		}
		if strings.Contains(string(body), `"op":"auth"`) {
			answer(w, 200, map[string]any{"replies": []any{f.guard.auth(r, body)}})
			return
		}
		answer(w, 200, map[string]any{"replies": []any{}})
	case r.Method == http.MethodPost && r.Header.Get("Content-Type") == protocol.MediaStream:
		f.upload(w, r)
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		p, err := protocol.ParsePublication(body)
		if err != nil {
			problem(w, protocol.ErrorFrom(err))
			return
		}
		f.mu.Lock()
		id, duplicate := f.append(p)
		f.mu.Unlock()
		answer(w, 201, map[string]any{"id": id, "duplicate": duplicate})
	default:
		messages, _ := f.after(0)
		var page []json.RawMessage
		for _, m := range messages {
			page = append(page, m.Append(nil))
		}
		answer(w, 200, map[string]any{"messages": page, "next": "a-1"})
	}
}

// bye notes who leaves.
func (f *fake) bye(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byes = append(f.byes, what)
}

func (f *fake) upload(w http.ResponseWriter, r *http.Request) {
	stored, last := 0, protocol.ID{}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); stored++ {
		p, err := protocol.ParsePublication(lines.Bytes())
		if err != nil {
			problem(w, protocol.ErrorFrom(err), "stored", stored, "id", last)
			return
		}
		f.mu.Lock()
		last, _ = f.append(p)
		f.mu.Unlock()
	}
	answer(w, 201, map[string]any{"id": last, "stored": stored})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", protocol.MediaJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// problem answers with a problem, which has more members beside it.
func problem(w http.ResponseWriter, e *protocol.Error, more ...any) {
	body := map[string]any{"type": "about:blank", "title": "no", "status": e.Code.HTTPStatus(), "detail": e.Message, "code": e.Code}
	for i := 0; i+1 < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(e.RetryAfter.Seconds())))
	}
	w.Header().Set("Content-Type", mediaProblem)
	w.WriteHeader(e.Code.HTTPStatus())
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fake) attach(w http.ResponseWriter, r *http.Request) {
	t := protocol.Negotiate(strings.EqualFold(r.Header.Get("Upgrade"), "websocket"), r.Header.Get("Accept"))
	out := &outlet{transport: t, w: w, r: r, changed: make(chan struct{}, 1), replies: make(chan protocol.Wire, 9)}
	f.mu.Lock()
	f.counts[t]++
	n := f.counts[t]
	f.attaches = append(f.attaches, string(t))
	f.mu.Unlock()
	if t != protocol.WebSocket {
		body, _ := io.ReadAll(r.Body)
		out.hello, _ = protocol.ParseHello(body, 1000)
		f.note(out.hello)
	}
	if f.fault != nil && f.fault(t, n, out) {
		return
	}
	if err := f.open(out); err == nil && f.guard.attach(out) {
		defer f.guard.detach(out)
		_ = f.serve(out)
	}
	if out.conn != nil {
		out.conn.Close()
	}
}

func (f *fake) note(h *protocol.Hello) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hellos = append(f.hellos, h)
}

// open answers the attachment's request and makes out.send work.
func (f *fake) open(out *outlet) error {
	switch out.transport {
	case protocol.WebSocket:
		upgrader := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == protocol.Subprotocol }}
		conn, _, _, err := upgrader.Upgrade(out.r, out.w)
		if err != nil {
			return err
		}
		out.conn = conn
		b, err := wsutil.ReadClientText(conn)
		if err != nil {
			return err
		}
		if out.hello, err = protocol.ParseHello(b, 1000); err != nil {
			return err
		}
		f.note(out.hello)
		out.send = func(w protocol.Wire) error { return wsutil.WriteServerText(conn, w.JSON()) }
	case protocol.Poll:
		out.send = func(w protocol.Wire) error {
			out.frames = append(out.frames, w.JSON())
			return nil
		}
	default:
		out.w.Header().Set("Content-Type", map[protocol.Transport]string{protocol.SSE: protocol.MediaSSE, protocol.Stream: protocol.MediaStream}[out.transport])
		out.send = func(w protocol.Wire) error {
			b := w.Line()
			if out.transport == protocol.SSE {
				b = w.Event()
			}
			if _, err := out.w.Write(b); err != nil {
				return err
			}
			return http.NewResponseController(out.w).Flush()
		}
	}
	return nil
}

// welcome sends the welcome, and returns the sequence from which to serve.
func (f *fake) welcome(out *outlet) uint64 {
	end := f.end()
	welcome := &protocol.Welcome{
		Session: "s1", Attachment: cmp.Or(out.id, "a1"), Transport: out.transport, ID: end, Beat: f.beat.Milliseconds(), Net: f.net,
		Transports: protocol.Transports(), Limits: protocol.Limits{Wait: 20}, Channels: map[string]protocol.After{},
	}
	at := end.Seq
	refused := map[string]*protocol.Error{}
	for pattern, start := range out.hello.Channels {
		if err := out.grant.covers(pattern); err != nil {
			refused[pattern] = err
			continue
		}
		from := protocol.Cursor{end}
		if start.After != nil {
			at, _ = start.After.In(end.Epoch)
			from = *start.After
		} else if start.Last > 0 {
			at -= min(at, uint64(start.Last))
			from = protocol.Cursor{{Epoch: end.Epoch, Seq: at}}
		}
		welcome.Channels[pattern] = protocol.After{After: from}
	}
	if out.transport != protocol.Poll || out.hello.Session == "" || out.hello.Welcome {
		welcome.ExpiresIn = out.grant.left().Milliseconds()
		_ = out.send(welcome.Wire())
	}
	for pattern, err := range refused {
		_ = out.send(protocol.Unsubscribed(pattern, err))
	}
	return at
}

// serve serves the attachment in order, for as long as its client is there.
func (f *fake) serve(out *outlet) error {
	ctx, cancel := context.WithCancel(out.r.Context())
	defer cancel()
	at := f.welcome(out)
	if out.transport == protocol.Poll {
		return f.servePoll(ctx, out, at)
	}
	if out.conn != nil { // a hijacked request's context does not notice the client's going
		go func() {
			defer cancel()
			for {
				b, err := wsutil.ReadClientText(out.conn)
				if err != nil {
					return
				}
				if strings.Contains(string(b), `"op":"bye"`) {
					f.bye("websocket")
					return
				}
				if strings.Contains(string(b), `"op":"auth"`) {
					out.replies <- f.guard.authInBand(out, b)
				}
			}
		}()
	}
	proof := time.After(250 * time.Millisecond)
	for {
		over, pattern := f.guard.over(out)
		if pattern != "" {
			if err := out.send(protocol.Unsubscribed(pattern, errNotGranted)); err != nil {
				return err
			}
		}
		messages, grown := f.after(at)
		for _, m := range messages {
			if err := out.send(m.Wire()); err != nil {
				return err
			}
			at = m.ID.Seq
		}
		var err error
		select {
		case <-grown:
		case <-proof:
			err = out.send(protocol.Proof())
		case <-out.changed:
		case reply := <-out.replies:
			err = out.send(reply)
		case <-over:
			if f.guard.reason(out) == nil {
				continue // it was renewed just now
			}
			f.guard.end(out)
			return io.EOF
		case <-time.After(f.beat):
			err = out.send(protocol.Beat(protocol.ID{Epoch: f.epoch, Seq: at}))
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (f *fake) servePoll(ctx context.Context, out *outlet, at uint64) error {
	messages, grown := f.after(at)
	over, _ := f.guard.over(out)
	if len(messages) == 0 {
		select {
		case <-over:
			problem(out.w, f.guard.reason(out))
			return nil
		case <-grown:
		case <-time.After(time.Duration(*out.hello.Wait * float64(time.Second))):
		case <-ctx.Done():
		}
		messages, _ = f.after(at)
	}
	for _, m := range messages {
		_ = out.send(m.Wire())
		at = m.ID.Seq
	}
	answer(out.w, 200, map[string]any{"frames": append([]json.RawMessage{}, out.frames...), "id": protocol.ID{Epoch: f.epoch, Seq: at}})
	return nil
}

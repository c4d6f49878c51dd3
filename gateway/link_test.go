package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/protocol"
)

// frame is a frame from the server; only its op's fields are set.
type frame struct {
	Op, Session, Attachment, Transport, ID     string
	Channel, Type, Encoding, Key, From, Reason string
	Code, Message, Next, Net                   string
	To, Data                                   json.RawMessage
	After                                      string
	Beat, Time                                 int64
	AfterMS                                    int64 `json:"after_ms"`
	RetryAfterMS                               int64 `json:"retry_after_ms"`
	ExpiresIn                                  int64 `json:"expires_in"`
	OK, Duplicate                              bool
	Transports                                 []string
	Limits                                     protocol.Limits
	Channels                                   map[string]struct{ After string }
	Error                                      struct{ Code, Message string }
	Messages                                   []frame
	Gap                                        *struct{ From, To, Reason string }
	event, lastID                              string // of SSE
	raw                                        []byte
}

func (f frame) String() string {
	switch f.Op {
	case "message":
		return string(f.Data)
	case "gap":
		return fmt.Sprintf("gap %s %s %s..%s", f.Reason, f.Channel, f.From, f.To)
	default:
		return string(f.raw)
	}
}

func parseFrame(t testing.TB, raw []byte) frame {
	t.Helper()
	if i := bytes.Index(raw, []byte("xxxxxxxx")); i >= 0 { // filler, which takes the time to parse
		raw = slices.Concat(raw[:i], raw[bytes.LastIndexByte(raw, 'x')+1:])
	}
	var f frame
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatalf("frame %q: %v", raw, err)
	}
	f.raw = raw
	return f
}

// link is the client's end of an attachment. Reading is synchronous: nothing happens in the background.
type link struct {
	w         *world
	transport protocol.Transport
	response  *http.Response // of sse and stream
	conn      net.Conn       // of websocket
	read      func() (frame, error)
	queue     []frame // of poll
	passed    []frame // came before a reply that was wanted first
	cursor    string  // moved by next, as PROTOCOL.md 2.1 says
	welcome   frame
	beats     int // one after another
}

// patience is how many beats are read while something else is waited for. On
// the clock of a bubble they come as fast as they can.
const patience = 1000

// awaited is the next frame, or the end. It fails if nothing but beats comes.
func (l *link) awaited() (frame, error) {
	l.w.t.Helper()
	f, err := l.read()
	if l.beats++; f.Op != "beat" {
		l.beats = 0
	}
	if l.beats > patience {
		l.w.t.Fatalf("%s: nothing but beats came", l.transport)
	}
	return f, err
}

// attach sends a hello by any transport and reads the welcome.
func (w *world) attach(t protocol.Transport, hello string) *link {
	w.t.Helper()
	l := w.open(t, hello)
	l.welcome = l.want("welcome")
	if l.welcome.Transport != string(t) {
		w.t.Fatalf("attached by %q, want %q", l.welcome.Transport, t)
	}
	l.cursor = l.welcome.ID
	return l
}

// open sends a hello by any transport.
func (w *world) open(t protocol.Transport, hello string) *link {
	w.t.Helper()
	switch t {
	case protocol.WebSocket:
		l := w.dialWebSocket("/v1/attach")
		l.sendText(strings.Replace(hello, "{", `{"op":"hello",`, 1))
		return l
	case protocol.Poll:
		return w.openPoll(hello)
	default:
		return w.openStream(t, request{method: "POST", path: "/v1/attach", body: hello})
	}
}

// openGet is open with a GET.
func (w *world) openGet(t protocol.Transport, query, headers string) *link {
	w.t.Helper()
	r := request{method: "GET", path: "/v1/attach?" + query, headers: headers}
	switch t {
	case protocol.WebSocket:
		return w.dialWebSocketWith(r.path, headers)
	case protocol.Poll:
		return w.pollLink(r)
	default:
		return w.openStream(t, r)
	}
}

func (w *world) openStream(t protocol.Transport, r request) *link {
	w.t.Helper()
	media := protocol.MediaSSE
	if t == protocol.Stream {
		media = protocol.MediaStream
	}
	r.headers += "\nAccept: " + media
	l := &link{w: w, transport: t, response: w.send(r)}
	if l.response.StatusCode != 200 || l.response.Header.Get("Content-Type") != media {
		w.t.Fatalf("attach: got %s %q", l.response.Status, answerOf(w.t, l.response).body)
	}
	body := bufio.NewReader(l.response.Body)
	l.read = func() (frame, error) { return readEvent(w.t, body) }
	if t == protocol.Stream {
		l.read = func() (frame, error) { return readLine(w.t, body) }
	}
	return l
}

// readEvent reads one SSE event and checks that it is what PROTOCOL.md 3.2 says.
func readEvent(t testing.TB, r *bufio.Reader) (frame, error) {
	t.Helper()
	event, id, data := "message", "", ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return frame{}, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue // a comment, or the retry
			}
			f := parseFrame(t, []byte(data))
			f.event, f.lastID = event, id
			if f.event != f.Op {
				t.Errorf("the event %q holds the frame %s", event, data)
			}
			return f, nil
		}
	}
}

func readLine(t testing.TB, r *bufio.Reader) (frame, error) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return frame{}, err
		}
		if strings.TrimSpace(line) != "" {
			return parseFrame(t, []byte(line)), nil
		}
	}
}

// openPoll polls with a hello, and goes on from the last answer's cursor when that is used up.
func (w *world) openPoll(hello string) *link {
	w.t.Helper()
	return w.pollLink(request{method: "POST", path: "/v1/attach", body: hello})
}

func (w *world) pollLink(first request) *link {
	l := &link{w: w, transport: protocol.Poll}
	next := first
	l.read = func() (frame, error) {
		for len(l.queue) == 0 {
			response, err := w.trySend(next)
			if err != nil {
				return frame{}, err
			}
			a := answerOf(w.t, response)
			if a.status != 200 {
				return frame{}, fmt.Errorf("poll: %d %s", a.status, a.body)
			}
			for _, raw := range a.Frames {
				l.queue = append(l.queue, parseFrame(w.t, raw))
			}
			next = request{method: "GET", path: pollOn(w.t, first, a.ID), headers: first.headers}
			if token := tokenOf(first.body); token != "" {
				next.headers = "Authorization: Bearer " + token
			}
		}
		f := l.queue[0]
		l.queue = l.queue[1:]
		return f, nil
	}
	return l
}

// tokenOf is the token of a hello, or "".
func tokenOf(hello string) string {
	var h struct{ Token string }
	_ = json.Unmarshal([]byte(hello), &h) // a GET has none
	return h.Token
}

// pollOn is the URL of the poll that follows first.
func pollOn(t testing.TB, first request, after string) string {
	q := url.Values{"after": {after}, "session": {"poll"}}
	if first.method == "GET" {
		u, err := url.Parse(first.path)
		if err != nil {
			t.Fatal(err)
		}
		q["channel"] = u.Query()["channel"]
		return "/v1/attach?" + q.Encode()
	}
	var hello protocol.Hello
	if err := json.Unmarshal([]byte(first.body), &hello); err != nil {
		t.Fatal(err)
	}
	for name := range hello.Channels {
		q.Add("channel", name)
	}
	return "/v1/attach?" + q.Encode()
}

// dialWebSocket opens a WebSocket as a browser does.
func (w *world) dialWebSocket(path string) *link { return w.dialWebSocketWith(path, "") }

func (w *world) dialWebSocketWith(path, headers string) *link {
	w.t.Helper()
	return w.handshake(w.dial(), path, headers)
}

// handshake opens a WebSocket over a connection, which the test's end closes.
func (w *world) handshake(conn net.Conn, path, headers string) *link {
	w.t.Helper()
	w.t.Cleanup(func() { _ = conn.Close() })
	dialer := ws.Dialer{Protocols: []string{protocol.Subprotocol}, Header: ws.HandshakeHeaderHTTP(request{headers: headers}.header())}
	u := &url.URL{Scheme: "ws", Host: "fairlead", Path: "/v1/attach"}
	_, u.RawQuery, _ = strings.Cut(path, "?")
	early, shaken, err := dialer.Upgrade(conn, u)
	if err != nil {
		w.t.Fatalf("open a WebSocket: %v", err)
	}
	if shaken.Protocol != protocol.Subprotocol {
		w.t.Errorf("the WebSocket has the subprotocol %q", shaken.Protocol)
	}
	reader := io.Reader(conn)
	if early != nil {
		reader = early
	}
	l := &link{w: w, transport: protocol.WebSocket, conn: conn}
	l.read = func() (frame, error) { return l.readText(reader) }
	return l
}

// closed is the end of a WebSocket with a close frame.
type closed struct {
	code   int
	reason string
}

func (c closed) Error() string { return fmt.Sprintf("closed with %d %s", c.code, c.reason) }

// pong is a pong with its payload.
type pong string

func (p pong) Error() string { return "pong " + string(p) }

// readText reads one text frame, or returns a closed or a pong as its error.
func (l *link) readText(r io.Reader) (frame, error) {
	l.w.t.Helper()
	h, err := ws.ReadHeader(r)
	if err != nil {
		return frame{}, err
	}
	if h.Masked || !h.Fin || h.Rsv != 0 {
		l.w.t.Errorf("the server's frame is %+v", h)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return frame{}, err
	}
	switch h.OpCode {
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return frame{}, closed{int(code), reason}
	case ws.OpPong:
		return frame{}, pong(payload)
	case ws.OpText:
		return parseFrame(l.w.t, payload), nil
	default:
		l.w.t.Errorf("the server's frame is %+v", h)
		return frame{}, errors.New("a frame of another kind")
	}
}

// sendText sends a text frame.
func (l *link) sendText(text string) { l.sendFrame(ws.NewTextFrame([]byte(text))) }

// sendFrame sends any frame, masked.
func (l *link) sendFrame(f ws.Frame) {
	l.w.t.Helper()
	if err := ws.WriteFrame(l.conn, ws.MaskFrame(f)); err != nil {
		l.w.t.Fatalf("write to the WebSocket: %v", err)
	}
}

// next is the next frame, whatever it is. It moves the cursor.
func (l *link) next() frame {
	l.w.t.Helper()
	if len(l.passed) > 0 {
		f := l.passed[0]
		l.passed = l.passed[1:]
		return f
	}
	f, err := l.awaited()
	if err != nil {
		l.w.t.Fatalf("%s: %v", l.transport, err)
	}
	switch f.Op {
	case "message", "beat":
		l.cursor = f.ID
	case "gap":
		l.cursor = strings.Trim(string(f.To), `"`)
	}
	return f
}

// want is the next frame with that op: proofs and beats before it are passed
// over, and so is what is subscribed to before a reply, but that comes next.
func (l *link) want(op string) frame {
	l.w.t.Helper()
	var passed []frame
	for {
		f := l.next()
		switch {
		case f.Op == op:
			l.passed = append(passed, l.passed...)
			return f
		case f.Op == "proof" || f.Op == "beat":
		case op == "reply" && (f.Op == "subscribed" || f.Op == "message" || f.Op == "gap"):
			passed = append(passed, f)
		default:
			l.w.t.Fatalf("%s: got %s, want a frame with the op %s", l.transport, f.raw, op)
		}
	}
}

// collect takes n messages and gaps.
func (l *link) collect(n int) []string {
	l.w.t.Helper()
	var got []string
	for len(got) < n {
		switch f := l.next(); f.Op {
		case "message", "gap":
			got = append(got, f.String())
		case "proof", "beat":
		default:
			l.w.t.Fatalf("%s: got %s", l.transport, f.raw)
		}
	}
	return got
}

// hangUp ends the client's side without a word.
func (l *link) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close()
	}
	if l.response != nil {
		_ = l.response.Body.Close()
	}
}

// wantEnd checks that nothing but proofs and beats comes before the end, and returns it.
func (l *link) wantEnd() error {
	l.w.t.Helper()
	for {
		f, err := l.awaited()
		if err != nil {
			return err
		}
		if f.Op != "proof" && f.Op != "beat" {
			l.w.t.Fatalf("%s: got %s, want the end", l.transport, f.raw)
		}
	}
}

// wantClose checks that the WebSocket is closed with that code and then ended.
func (l *link) wantClose(code int) {
	l.w.t.Helper()
	var c closed
	if err := l.wantEnd(); !errors.As(err, &c) || c.code != code {
		l.w.t.Errorf("got %v, want the close code %d", err, code)
	}
	_ = ws.WriteFrame(l.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), "")))) // the server may have gone already
	l.wantNothing()
}

// wantNothing checks that the connection ends without another byte.
func (l *link) wantNothing() {
	l.w.t.Helper()
	if n, err := l.conn.Read(make([]byte, 1)); err == nil {
		l.w.t.Errorf("%d bytes came after the close frame", n)
	}
}

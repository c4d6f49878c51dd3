package gateway

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

var discard = slog.New(slog.DiscardHandler)

var badChannels = []string{".", "a.", ".a", "a..b", "a b", "a/b", "a\x00", "é", "\xff\xfe", "a%", strings.Repeat("x", 201), strings.Repeat("a.", 16) + "a", "a\r\nb"}

// PROTOCOL.md 1.1. What is refused leaves nothing behind.
func TestBadChannelNamesAreRefusedEverywhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, name := range append([]string{"*", "a.*", ">", "a.>"}, badChannels...) {
			path := "/v1/channels/" + url.PathEscape(name) + "/messages"
			for _, method := range []string{"POST", "GET", "DELETE"} {
				w.call(request{method: method, path: path}).wantProblem(t, fmt.Sprintf("%s %q", method, name), protocol.BadRequest)
			}
		}
		for _, name := range append([]string{"", ">.a", "a.*b", "a>"}, badChannels...) {
			w.call(request{method: "GET", path: "/v1/attach?wait=0&channel=" + url.QueryEscape(name)}).wantProblem(t, fmt.Sprintf("attach to %q", name), protocol.BadRequest)
		}
		if seq := w.broker.Head().Seq; seq != 0 {
			t.Errorf("%d messages were stored", seq)
		}
		const odd = "A-z_0:@=+~-.x"
		if a := w.call(poster(url.PathEscape(odd), "text/plain", "x")); a.status != 201 {
			t.Errorf("%s: got %d %s", odd, a.status, a.body)
		}
		if a := w.call(poster("%41%2D%7A_0:@=+~-.x", "text/plain", "y")); a.status != 201 {
			t.Errorf("the same with escapes: got %d %s", a.status, a.body)
		}
		equal(t, odd, w.history(odd), []string{`"x"`, `"y"`})
	})
}

func TestBadRequestsToAttachAreProblems(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, query := range []string{
			"channel=a&after=x", "channel=a&after=-1", "channel=a&after=a-01", "channel=a&after=a-9007199254740992", "channel=a&after=a-1,a-2", "channel=a&after=" + strings.Repeat("x", 5000),
			"channel=a&after=0&last=1", "channel=a&last=-1", "channel=a&last=10001", "channel=a&last=x", "channel=a&lastEventId=x", "channel=%zz", "channel=a;b", "session=a%20b", "session=" + strings.Repeat("x", 65),
			"channel=a&wait=-1", "channel=a&wait=x", "channel=a&wait=NaN", "channel=a&beat=x", "channel=a&beat=-1",
			"channel=a&token=secret", "channel=a&access_token=secret", "channel=a&jwt=",
		} {
			for _, accept := range []string{protocol.MediaSSE, protocol.MediaStream, protocol.MediaJSON} {
				a := w.call(request{method: "GET", path: "/v1/attach?" + query, headers: "Accept: " + accept})
				a.wantProblem(t, query, protocol.BadRequest)
				if strings.Contains(a.body, "secret") {
					t.Errorf("%s: the answer repeats the token: %s", query, a.body)
				}
			}
		}
		w.call(request{method: "GET", path: "/v1/attach?channel=a", headers: "Last-Event-ID: x"}).wantProblem(t, "Last-Event-ID", protocol.BadRequest)
		many := &strings.Builder{}
		for i := range 1001 {
			fmt.Fprintf(many, `,"c%d":{}`, i)
		}
		for _, body := range []string{"", "null ,", "[]", `"hello"`, "{", `{"channels":{"a":`, `{"channels":{"a":{"after":5}}}`, `{"channels":{"a":{"after":"x"}}}`, `{"channels":{"a":{"after":"0","last":1}}}`,
			`{"channels":{"a":{"last":-1}}}`, `{"op":"publish","channels":{}}`, `{"wait":-1}`, `{"wait":"1"}`, "{\"session\":\"\xff\"}", `{"channels":{` + many.String()[1:] + `}}`} {
			w.call(request{method: "POST", path: "/v1/attach", body: body}).wantProblem(t, body[:min(60, len(body))], protocol.BadRequest)
		}
	})
}

func TestBadRequestsOfOriginsAreProblems(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		w.publish("a", 1)
		for _, body := range []string{"", "{", `{"data":1`, `{"data":}`, `{"data":1}{}`, `{"data":1,"type":"a b"}`, `{"data":1,"key":"a b"}`, `{"data":"?","encoding":"base64"}`, `{"data":1,"encoding":"base64"}`, `{"data":1,"encoding":"gzip"}`, "{\"data\":\"\xff\"}", "5"} {
			w.call(poster("a", "application/json", body)).wantProblem(t, body, protocol.BadRequest)
		}
		for _, query := range []string{"after=x", "before=x", "after=0&before=0", "after=0&last=5", "last=5&before=0", "limit=-1", "limit=x", "limit=1001", "last=1001", "after=%zz"} {
			w.call(request{method: "GET", path: "/v1/channels/a/messages?" + query}).wantProblem(t, query, protocol.BadRequest)
		}
		r := poster("a", "text/plain", "x")
		r.headers += "\nFairlead-Type: a b"
		w.call(r).wantProblem(t, "a bad type", protocol.BadRequest)
		for _, body := range []string{"", "[]", `{"commands":5}`, `{"session":"a b","commands":[]}`, `{"commands":[{"op":"ping"}`} {
			w.call(request{method: "POST", path: "/v1/commands", body: body}).wantProblem(t, body, protocol.BadRequest)
		}
		equal(t, "stored", w.history("a"), []string{"1"})
	})
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, path := range []string{"/v1", "/v1/", "/v1/nothing", "/v1/channels", "/v1/channels/a", "/v1/channels/a/messages/5", "/v1/../v1/nothing"} {
			w.call(request{method: "GET", path: path}).wantProblem(t, path, protocol.NotFound)
		}
		for path, allow := range map[string]string{"/v1/attach": "GET, POST", "/v1/commands": "POST", "/v1/channels/a/messages": "GET, POST, DELETE", "/v1/ping": "GET"} {
			a := w.call(request{method: "PUT", path: path})
			a.wantProblem(t, path, protocol.MethodNotAllowed)
			if got := strings.Join(a.header.Values("Allow"), ", "); got != allow {
				t.Errorf("PUT %s: Allow: %s, want %s", path, got, allow)
			}
		}
	})
}

func TestBodiesOverTheLimitAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Frame: 1000, Batch: 3000}}, broker.Options{})
		refused := map[string]float64{}
		for _, c := range []struct {
			path, media string
			limit       int
			name        string
		}{
			{"/v1/attach", "application/json", 1000, "frame"}, {"/v1/commands", "application/json", 3000, "batch"}, {"/v1/publish", "application/json", 3000, "batch"},
			{"/v1/channels/a/messages", "application/json", 1000, "frame"}, {"/v1/channels/a/messages", "text/plain", 1000, "frame"},
			{"/v1/channels/a/messages", "text/event-stream", 1000, "frame"}, {"/v1/channels/a/messages", "application/x-ndjson", 1000, "frame"},
		} {
			for _, chunked := range []bool{false, true} {
				r := request{method: "POST", path: c.path, headers: "Content-Type: " + c.media, body: strings.Repeat(" ", c.limit+1)}
				if chunked {
					r.stream = io.MultiReader(strings.NewReader(r.body))
				}
				w.call(r).wantProblem(t, fmt.Sprintf("%s %s chunked %v", c.path, c.media, chunked), protocol.TooLarge)
				refused[c.name]++
				if n := w.timesRefused(c.name); n != refused[c.name] {
					t.Errorf("%s %s: counted %v times, want %v", c.path, c.media, n, refused[c.name])
				}
			}
		}
		began := time.Now()
		a := w.rawCall("POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
		if a.wantProblem(t, "one that is announced", protocol.TooLarge); time.Since(began) > 0 {
			t.Errorf("it was waited for for %v", time.Since(began))
		}
		if a := w.call(poster("a", "text/plain", strings.Repeat("x", 1000))); a.status != 201 {
			t.Errorf("as much as is allowed: got %d %s", a.status, a.body)
		}
	})
}

func TestCompressedBodiesAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		var body strings.Builder
		z := gzip.NewWriter(&body)
		_, _ = io.WriteString(z, "data: x\n\n")
		_ = z.Close()
		for _, media := range []string{"application/json", "text/plain", "text/event-stream", "application/x-ndjson"} {
			r := poster("a", media, body.String())
			r.headers += "\nContent-Encoding: gzip"
			w.call(r).wantProblem(t, media, protocol.UnsupportedMediaType)
		}
		equal(t, "stored", w.history("a"), nil)
	})
}

// rawCall writes a request that an HTTP client would not, and reads the answer.
func (w *world) rawCall(text string) answer {
	w.t.Helper()
	a, _ := w.rawCallOn(text)
	return a
}

// rawCallOn is rawCall, and what comes behind the answer.
func (w *world) rawCallOn(text string) (answer, *bufio.Reader) {
	w.t.Helper()
	conn := w.dial()
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response.Request = &http.Request{}
	return answerOf(w.t, response), reader
}

// It is answered, and its connection closed: nobody waits for the rest.
func TestABodyThatStallsIsAnswered(t *testing.T) {
	for media, rest := range map[string]string{"application/json": `{"da`, "text/event-stream": "data: 1\n\ndata: 2", "text/plain": ""} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			began := time.Now()
			a, behind := w.rawCallOn("POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: " + media + "\r\n\r\n" + rest)
			a.wantProblem(t, media, protocol.Timeout)
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("%s: answered after %v, want 30s", media, took)
			}
			_, err := behind.ReadByte()
			if took := time.Since(began); !errors.Is(err, io.EOF) || took > 31*time.Second {
				t.Errorf("%s: the connection ends after %v with %v", media, took, err)
			}
			if media == "text/event-stream" && a.Stored != 1 {
				t.Errorf("got %s, want one stored", a.body)
			}
		})
	}
}

// A refusal is not held up for ever by a body that nobody wants.
func TestABodyThatNobodyReadsHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for line, code := range map[string]protocol.Code{"POST /v1/channels/a..b/messages": protocol.BadRequest, "POST /v1/nothing": protocol.NotFound, "GET /v1/attach?channel=a..b": protocol.BadRequest} {
			began := time.Now()
			w.rawCall(line+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").wantProblem(t, line, code)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("%s: answered after %v", line, took)
			}
		}
	})
}

// An origin's answer may take hours to stream.
func TestABodyThatComesSlowlyIsStoredAndAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		body, pipe := io.Pipe()
		go func() { // ends with the body
			for i := range 40 {
				time.Sleep(29 * time.Second)
				_, _ = fmt.Fprintf(pipe, "data: %d\n\n", i)
			}
			_ = pipe.Close()
		}()
		r := poster("a", protocol.MediaSSE, "")
		r.stream = body
		if a := w.call(r); a.status != 201 || a.Stored != 40 {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

// Whoever has sent everything may shut down its side, as nc does.
func TestAHalfClosedRequestIsCarriedOutAndAnswered(t *testing.T) {
	w := newRealWorld(t, Options{}, broker.Options{})
	for range 20 {
		conn := w.dial()
		_, err := io.WriteString(conn, "POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Request = &http.Request{}
		if a := answerOf(t, response); a.status != 201 || a.ID == "" {
			t.Fatalf("got %d %q", a.status, a.body)
		}
		_ = conn.Close()
	}
}

// PROTOCOL.md 2.3: nothing about a fault of the server is revealed, and what may be retried says when.
func TestFaultsRevealNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		secret := fmt.Errorf("open /var/lib/secret: permission denied")
		recorder := &recorder{header: http.Header{}}
		w.g.handle(func(http.ResponseWriter, *http.Request) error { return secret })(recorder, (&http.Request{}).WithContext(t.Context()))
		if recorder.status != 500 || strings.Contains(recorder.body.String(), "secret") || !strings.Contains(recorder.body.String(), `"code":"internal"`) {
			t.Errorf("got %d %s", recorder.status, recorder.body.String())
		}
		if !strings.Contains(w.logs.String(), "secret") {
			t.Errorf("the operator is not told: %s", w.logs)
		}
		for _, code := range []protocol.Code{protocol.Unavailable, protocol.RateLimited} {
			recorder.header = http.Header{}
			w.g.handle(func(http.ResponseWriter, *http.Request) error { return protocol.Errorf(code, "wait") })(recorder, (&http.Request{}).WithContext(t.Context()))
			if recorder.header.Get("Retry-After") != "1" {
				t.Errorf("%s: Retry-After is %q", code, recorder.header.Get("Retry-After"))
			}
		}
	})
}

func TestALogThatCannotBeReachedIsUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir(), DiskReserve: 1 << 60, MaxAge: 100 * 365 * 24 * time.Hour, Dedupe: time.Minute, Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(t.Context()) })
		listener := newPipeListener()
		w := serve(t, b, Options{}, listener)
		w.useDial(listener.dial)
		for _, r := range []request{poster("a", "text/plain", "x"), poster("a", "application/json", `[{"data":1},{"data":2}]`), poster("a", "text/event-stream", "data: 1\n\n"), {method: "GET", path: "/readyz"}} {
			a := w.call(r)
			a.wantProblem(t, r.path+" "+r.headers, protocol.Unavailable)
			if a.header.Get("Retry-After") != "5" {
				t.Errorf("%s: Retry-After is %q, want 5", r.path, a.header.Get("Retry-After"))
			}
		}
		if response := w.send(request{method: "GET", path: "/healthz"}); response.StatusCode != 200 {
			t.Errorf("healthz: got %s", response.Status)
		}
	})
}

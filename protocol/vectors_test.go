package protocol

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// vectors reads a file of ../testdata, which the JavaScript tests read as well.
func vectors[T any](t testing.TB, file string) (v T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

type nameVectors struct{ Channels, Patterns, Invalid []string }

func TestNames(t *testing.T) {
	v := vectors[nameVectors](t, "names.json")
	for _, name := range v.Channels {
		if err := CheckChannel(name); err != nil {
			t.Errorf("CheckChannel(%q): %v", name, err)
		}
		if err := CheckPattern(name); err != nil {
			t.Errorf("CheckPattern(%q): %v", name, err)
		}
		if IsPattern(name) {
			t.Errorf("IsPattern(%q) is true", name)
		}
	}
	for _, name := range v.Patterns {
		if err := CheckPattern(name); err != nil {
			t.Errorf("CheckPattern(%q): %v", name, err)
		}
		if CheckChannel(name) == nil || !IsPattern(name) {
			t.Errorf("%q counts as a channel", name)
		}
	}
	for _, name := range append(v.Invalid, "a\xff") {
		if CheckChannel(name) == nil || CheckPattern(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestCursors(t *testing.T) {
	v := vectors[struct {
		IDs []struct {
			Text, Epoch string
			Seq         uint64
		}
		Cursors []struct {
			Text string
			IDs  []string
		}
		Invalid []string
	}](t, "cursors.json")
	for _, want := range v.IDs {
		id, err := ParseID(want.Text)
		if err != nil || id.Epoch != want.Epoch || id.Seq != want.Seq || id.String() != want.Text {
			t.Errorf("ParseID(%q): got %+v, %v", want.Text, id, err)
		}
	}
	for _, want := range v.Cursors {
		c, err := ParseCursor(want.Text)
		if err != nil || len(c) != len(want.IDs) || c.String() != want.Text {
			t.Errorf("ParseCursor(%q): got %v, %v", want.Text, c, err)
		}
	}
	for _, s := range v.Invalid {
		if c, err := ParseCursor(s); err == nil {
			t.Errorf("ParseCursor(%q): got %v, want an error", s, c)
		}
	}
}

func TestFramesDown(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	a := func(seq uint64) ID { return ID{"a", seq} }
	cursor := func(s string) Cursor {
		c, err := ParseCursor(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	made := map[string]Wire{
		"welcome": (&Welcome{Session: "s1", Attachment: "n1.2", Transport: SSE, ID: a(9), Beat: 15000, Transports: Transports(),
			Limits: Limits{Frame: 262144, Channels: 1000, History: 1000, Wait: 55}, Net: "q1w2E3r4T5y6",
			Channels: map[string]After{"chat.42": {cursor("a-9")}}}).Wire(),
		"proof":          Proof(),
		"beat":           Beat(a(12)),
		"gap: retention": (&Gap{"chat.42", cursor("a-3"), a(6), GapRetention}).Wire(),
		"gap: replaced":  (&Gap{"chat.*", cursor("z-3"), a(0), GapReplaced}).Wire(),
		"gap: purged":    (&Gap{"chat.42", cursor("0"), a(6), GapPurged}).Wire(),
		"subscribed":     Subscribed("chat.42", cursor("a-5")),
		"unsubscribed":   Unsubscribed("chat.*", Errorf(Forbidden, "not granted")),
		"reply: ok": (&Reply{To: json.RawMessage(`"c1"`), Result: struct {
			ID ID `json:"id"`
		}{a(7)}}).Wire(),
		"reply: bare":  (&Reply{To: json.RawMessage("1")}).Wire(),
		"reply: error": (&Reply{Err: Errorf(BadRequest, "the frame has no op")}).Wire(),
		"reply: later": (&Reply{To: json.RawMessage("2"), Err: &Error{Code: RateLimited, Message: "wait", RetryAfter: 1500*time.Millisecond + 1}}).Wire(),
		"error: later": ErrorFrame(&Error{Code: Unavailable, Message: "try later", RetryAfter: time.Second}),
		"goaway":       Goaway(1500*time.Millisecond, "drain"),
		"error":        ErrorFrame(Errorf(TooLarge, "the frame is too large")),
	}
	for _, v := range vectors[[]struct {
		Name, JSON, SSE string
		Message         *struct {
			Payload, Type, From, Key string
			Payload64                []byte
			Encoding                 Encoding
		}
	}](t, "frames.json") {
		wire, ok := made[v.Name]
		if v.Message != nil {
			m := Message{ID: a(7), Channel: "chat.42", Type: v.Message.Type, Payload: append([]byte(v.Message.Payload), v.Message.Payload64...),
				Encoding: v.Message.Encoding, Time: at, From: v.Message.From, Key: v.Message.Key}
			wire, ok = m.Wire(), true
		}
		if !ok {
			t.Errorf("%s: nothing makes this frame", v.Name)
			continue
		}
		if got := string(wire.JSON()); got != v.JSON {
			t.Errorf("%s:\n got %s\nwant %s", v.Name, got, v.JSON)
		}
		if got := string(wire.Event()); got != v.SSE {
			t.Errorf("%s: as SSE\n got %q\nwant %q", v.Name, got, v.SSE)
		}
		if got := string(wire.Line()); got != v.JSON+"\n" {
			t.Errorf("%s: as a line\n got %q", v.Name, got)
		}
	}
}

type commandVectors struct {
	Valid   []string
	Invalid []struct {
		Frame string
		Code  Code
	}
}

func TestCommands(t *testing.T) {
	v := vectors[commandVectors](t, "commands.json")
	for _, frame := range v.Valid {
		if _, err := ParseCommand([]byte(frame)); err != nil {
			t.Errorf("%s: %v", frame, err)
		}
	}
	for _, bad := range v.Invalid {
		_, err := ParseCommand([]byte(bad.Frame))
		if err == nil {
			t.Errorf("%s: got no error", bad.Frame)
		} else if code := ErrorFrom(err).Code; code != bad.Code {
			t.Errorf("%s: got %s, want %s", bad.Frame, code, bad.Code)
		}
	}
}

// A command's error finds its way back by its cid even if the rest of it is wrong.
func TestBadCommandKeepsItsCID(t *testing.T) {
	for frame, want := range map[string]string{
		`{"op":"dance","cid":"c7"}`:                        `"c7"`,
		`{"cid":7,"op":"subscribe","channel":"a b"}`:       `7`,
		`{"cid":7,"op":"subscribe","channel":{"a":"b"}}`:   `7`,
		`{"cid":{"a":1},"op":"subscribe","channel":"a b"}`: "",
	} {
		c, err := ParseCommand([]byte(frame))
		if err == nil || string(c.CID) != want {
			t.Errorf("%s: got cid %s and error %v, want cid %s and an error", frame, c.CID, err, want)
		}
	}
}

type sseVectors []struct {
	Name, Stream string
	Events       []Event
}

// Feeds each stream cut in two at every byte, and byte by byte.
func TestEventParserFindsTheSameEventsHoweverTheStreamIsCut(t *testing.T) {
	for _, v := range vectors[sseVectors](t, "sse.json") {
		for cut := range len(v.Stream) + 1 {
			checkEvents(t, v.Name, v.Events, v.Stream[:cut], v.Stream[cut:])
		}
		var bytes []string
		for i := range len(v.Stream) {
			bytes = append(bytes, v.Stream[i:i+1])
		}
		checkEvents(t, v.Name, v.Events, bytes...)
	}
}

func checkEvents(t *testing.T, name string, want []Event, chunks ...string) {
	t.Helper()
	var p EventParser
	var got []Event
	for _, chunk := range chunks {
		_ = p.Feed([]byte(chunk), func(e Event) error { got = append(got, e); return nil })
	}
	if len(got) != len(want) {
		t.Errorf("%s, cut %q: got %+v, want %+v", name, chunks, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s, cut %q: got %+v, want %+v", name, chunks, got[i], want[i])
		}
	}
}

func TestNegotiate(t *testing.T) {
	for _, v := range vectors[[]struct {
		Accept    string
		Upgrade   bool
		Transport Transport
	}](t, "negotiation.json") {
		if got := Negotiate(v.Upgrade, v.Accept); got != v.Transport {
			t.Errorf("Negotiate(%v, %q): got %s, want %s", v.Upgrade, v.Accept, got, v.Transport)
		}
	}
}

func TestErrors(t *testing.T) {
	document, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	all := vectors[[]struct {
		Code          Code
		Status, Close int
		Retryable     bool
	}](t, "errors.json")
	if len(all) != len(codes) {
		t.Errorf("got vectors of %d codes, want %d", len(all), len(codes))
	}
	for _, v := range all {
		if c := v.Code; c.HTTPStatus() != v.Status || c.CloseCode() != v.Close || c.Retryable() != v.Retryable {
			t.Errorf("%s: got %d, %d, %v, want %+v", c, c.HTTPStatus(), c.CloseCode(), c.Retryable(), v)
		}
		if row := fmt.Sprintf("| `%s` | %d | %d |", v.Code, v.Status, v.Close); !strings.Contains(string(document), row) {
			t.Errorf("PROTOCOL.md 2.3 has no row %s", row)
		}
	}
}

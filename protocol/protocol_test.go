package protocol

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestHelloRefusesWhatTheServerWouldNotServe(t *testing.T) {
	many := make(map[string]Start, 1001)
	for i := range 1001 {
		many["c."+strings.Repeat("x", i%100)+string(rune('a'+i/100))] = Start{}
	}
	for len(many) < 1001 {
		many["more."+strings.Repeat("y", len(many)%150)+strings.Repeat("z", len(many)/150)] = Start{}
	}
	body, err := json.Marshal(map[string]any{"channels": many})
	if err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string]string{
		"another op":      `{"op":"ping"}`,
		"1,001 channels":  string(body),
		"after and last":  `{"channels":{"a":{"after":"a-1","last":1}}}`,
		"a bad pattern":   `{"channels":{"a b":{}}}`,
		"a bad session":   `{"session":"a b"}`,
		"a long session":  `{"session":"` + strings.Repeat("s", 65) + `"}`,
		"a negative beat": `{"beat":-1}`,
		"a negative wait": `{"wait":-1}`,
		"half a frame":    `{"op":"hello","channels":{"a":`,
		"not UTF-8":       "{\"session\":\"\xff\"}",
		"a bad cursor":    `{"channels":{"a":{"after":"later"}}}`,
	} {
		h, err := ParseHello([]byte(frame), 1000)
		if err == nil {
			err = h.Check(1000)
		}
		if err == nil || ErrorFrom(err).Code != BadRequest {
			t.Errorf("%s: got %v, want bad_request", name, err)
		}
	}
	h, err := ParseHello([]byte(`{"op":"hello","session":"s-1","channels":{"a":{"after":"0"},"b.*":{"last":3},"c":{}},"wait":0}`), 3)
	if err != nil || h.Check(3) != nil || *h.Wait != 0 || len(*h.Channels["a"].After) != 0 || h.Channels["b.*"].Last != 3 || h.Channels["c"].After != nil {
		t.Errorf("a good hello: got %+v, %v", h, err)
	}
}

func TestErrorsShowClientsNothingOfTheirCause(t *testing.T) {
	secret := errors.New("password is hunter2")
	for _, err := range []error{secret, Errorf(Unavailable, "the log cannot be reached").Because(secret)} {
		e := ErrorFrom(err)
		if s := string(ErrorFrame(e).JSON()); strings.Contains(s, "hunter2") {
			t.Errorf("a client is shown %s", s)
		}
		if !errors.Is(e, secret) {
			t.Errorf("%v has lost its cause", e)
		}
	}
	if code := ErrorFrom(secret).Code; code != Internal {
		t.Errorf("another error: got %s, want internal", code)
	}
}

func TestEveryCodeHasAStatusAndACloseCode(t *testing.T) {
	for code, row := range codes {
		if row.status < 400 || row.status > 599 || (row.closeCode < 4000 || row.closeCode > 4999) && row.closeCode != 1009 && row.closeCode != 1011 && row.closeCode != 1013 {
			t.Errorf("%s: got %+v", code, row)
		}
	}
	if Code("new").HTTPStatus() != 500 || Code("new").CloseCode() != 1011 {
		t.Error("an unknown code is not internal")
	}
}

func TestEventParserBoundsAnEvent(t *testing.T) {
	for _, stream := range []string{"data: 123456789\n\n", "data: 1234567", "data: 1\ndata: 2\ndata: 3\n", ":2345678901", "data: 1\n:2345"} {
		p := EventParser{Limit: 10}
		err := p.Feed([]byte(stream), func(Event) error { return nil })
		if err == nil || ErrorFrom(err).Code != TooLarge {
			t.Errorf("%q: got %v, want too_large", stream, err)
		}
	}
	p := EventParser{Limit: 10}
	if err := p.Feed([]byte(strings.Repeat(":2345678\n", 100)), nil); err != nil {
		t.Errorf("comments that keep the connection alive: got %v", err)
	}
}

// A publisher cannot break out of its frame, whatever it says that its bytes are.
func TestAMessageIsOneLineOfJSONWhateverItHolds(t *testing.T) {
	for _, payload := range []string{"", "\n", "{\n}", "\r\n\r\ndata: x", "\xff\n", "{}}", `{"a":1}{"b":2}`, "\"\\ud800\"", "\u2028", "nul", "{\"a\":\"\xff\"}", "[\"\x00\"]"} {
		for _, encoding := range []Encoding{"", EncodingJSON, EncodingText, EncodingBase64, "new"} {
			m := Message{ID: ID{"a", 1}, Channel: "c", Payload: []byte(payload), Encoding: encoding, Type: "t\n", From: "f\xff\n", Key: "k\r"}
			checkWire(t, m.Wire())
		}
	}
}

func checkWire(t *testing.T, w Wire) {
	t.Helper()
	b := w.JSON()
	if !json.Valid(b) {
		t.Errorf("not JSON: %q", b)
	}
	if strings.ContainsAny(string(b), "\r\n") || strings.ToValidUTF8(string(b), "") != string(b) {
		t.Errorf("not one line of UTF-8: %q", b)
	}
	var p EventParser
	var got []string
	_ = p.Feed(w.Event(), func(e Event) error { got = append(got, e.Data); return nil })
	if len(got) != 1 || got[0] != string(b) {
		t.Errorf("as SSE: got %q, want one event with %q", got, b)
	}
}

func TestParsePayload(t *testing.T) {
	for _, c := range []struct {
		data     string
		encoding Encoding
		want     string
		stored   Encoding
		bad      bool
	}{
		{data: `{"a": 1}`, want: `{"a": 1}`},
		{data: "{\n\"a\": 1}", want: `{"a":1}`},
		{data: `"aGk="`, encoding: "base64", want: "hi", stored: "base64"},
		{data: `"a"`, encoding: "base64", bad: true},
		{data: `17`, encoding: "base64", bad: true},
		{data: ``, encoding: "base64", bad: true},
		{data: `"a"`, encoding: "utf-16", bad: true},
	} {
		payload, stored, err := ParsePayload(json.RawMessage(c.data), c.encoding)
		if (err != nil) != c.bad || string(payload) != c.want || stored != c.stored {
			t.Errorf("%s as %q: got %q, %q, %v", c.data, c.encoding, payload, stored, err)
		}
	}
	for payload, want := range map[string]Encoding{"42": EncodingText, "hi": "", "\xff": "", "": EncodingText} {
		if got := RawPayload([]byte(payload)); got != want {
			t.Errorf("RawPayload(%q): got %q, want %q", payload, got, want)
		}
	}
}

func BenchmarkMessageWire(b *testing.B) {
	m := Message{ID: ID{"mb3k2v1p", 123456}, Channel: "chat.42", Type: "text", Payload: []byte(`{"text":"` + strings.Repeat("x", 180) + `"}`), Time: time.UnixMilli(1700000000123), Key: "k"}
	b.ReportAllocs()
	for b.Loop() {
		m.Wire()
	}
}

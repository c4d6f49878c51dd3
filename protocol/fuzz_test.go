package protocol

import (
	"strings"
	"testing"
	"time"
)

func FuzzName(f *testing.F) {
	v := vectors[nameVectors](f, "names.json")
	for _, name := range append(append(v.Channels, v.Patterns...), v.Invalid...) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckChannel(name) == nil && (CheckPattern(name) != nil || IsPattern(name) || strings.ContainsAny(name, "*> \r\n\x00\x7f")) {
			t.Errorf("%q is a channel name", name)
		}
	})
}

func FuzzCursor(f *testing.F) {
	v := vectors[struct {
		IDs     []struct{ Text string }
		Invalid []string
	}](f, "cursors.json")
	for _, id := range v.IDs {
		f.Add(id.Text)
	}
	for _, s := range append(v.Invalid, "0", "a-5,b-9") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseCursor(s); err == nil && c.String() != s {
			t.Errorf("%q became %q", s, c)
		}
	})
}

func FuzzCommand(f *testing.F) {
	v := vectors[commandVectors](f, "commands.json")
	for _, frame := range v.Valid {
		f.Add([]byte(frame))
	}
	for _, bad := range v.Invalid {
		f.Add([]byte(bad.Frame))
	}
	f.Add([]byte(`{"op":"hello","channels":{"a":{"after":"0"}}}`))
	f.Add([]byte(`[{"data":1,"key":"k"}]`))
	f.Add([]byte(`{"sub":"ann","before":1700000000000}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil && ErrorFrom(err).Code == Internal {
			t.Errorf("%q: %v", b, err)
		}
		checkWire(t, (&Reply{To: c.CID, Err: ErrorFrom(errOr(err))}).Wire())
		_, _ = ParseHello(b, 1000)
		_, _ = ParseCommands(b)
		_, _ = ParsePublications(b)
		_, _ = ParseFanout(b)
		_, _ = ParsePublication(b)
		if r, err := ParseRevoke(b); err == nil && r.Before < 0 {
			t.Errorf("%q is %+v", b, r)
		}
	})
}

func errOr(err error) error {
	if err == nil {
		return Errorf(NotFound, "nothing")
	}
	return err
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"a":1}`), "", "t", "k")
	f.Add([]byte("\xff\x00"), "json", "t\n", "k\r\n\r\n")
	f.Fuzz(func(t *testing.T, payload []byte, encoding, typ, key string) {
		m := Message{ID: ID{"a", 1}, Channel: "c", Payload: payload, Encoding: Encoding(encoding), Type: typ, Key: key, From: key, Time: time.UnixMilli(1)}
		checkWire(t, m.Wire())
	})
}

func FuzzEventParser(f *testing.F) {
	for _, v := range vectors[sseVectors](f, "sse.json") {
		f.Add([]byte(v.Stream), 3)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		if len(stream) > 0 {
			cut = int(uint(cut) % uint(len(stream)))
		} else {
			cut = 0
		}
		parse := func(chunks ...[]byte) (events []Event) {
			p := EventParser{Limit: 1000}
			for _, chunk := range chunks {
				if p.Feed(chunk, func(e Event) error { events = append(events, e); return nil }) != nil {
					break
				}
			}
			return events
		}
		whole, parts := parse(stream), parse(stream[:cut], stream[cut:])
		if len(whole) != len(parts) {
			t.Fatalf("%q cut at %d: %d events, whole %d", stream, cut, len(parts), len(whole))
		}
		for i := range whole {
			if whole[i] != parts[i] {
				t.Fatalf("%q cut at %d: %+v, whole %+v", stream, cut, parts[i], whole[i])
			}
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("text/event-stream;q=0.5, */*", false)
	f.Fuzz(func(t *testing.T, accept string, upgrade bool) {
		if got := Negotiate(upgrade, accept); (got == WebSocket) != upgrade {
			t.Errorf("Negotiate(%v, %q) is %s", upgrade, accept, got)
		}
	})
}

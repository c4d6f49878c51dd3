package broker

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/fairlead/fairlead/protocol"
)

func TestMessagesOfNATSOriginsAreMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		origin := connectInside(t, b)
		for _, m := range []*nats.Msg{
			{Subject: "ch.a.b", Data: []byte(`{"x":1}`)},
			{Subject: "ch.a.b", Data: []byte("plain"), Header: nats.Header{"Fairlead-Type": {"t"}, "Fairlead-From": {"me"}, "Nats-Msg-Id": {"k"}}},
			{Subject: "ch.a.b", Data: []byte("[1]"), Header: nats.Header{"Fairlead-Encoding": {"text"}, "Nats-Msg-Id": {"a.b/k2"}}},
			{Subject: "ch.a.b", Data: []byte{0xff}},
			{Subject: "ch.a.b"},
		} {
			if err := origin.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		r := newReader(t, b)
		subscribe(t, r, "a.b", earliest())
		var got []string
		for range 5 {
			into := make([]*Entry, 1)
			if _, err := r.Next(t.Context(), into); err != nil {
				t.Fatal(err)
			}
			got = append(got, fields(t, into[0]))
		}
		equal(t, "messages", got, []string{
			`a.b {"x":1}`,
			`a.b "plain" type=t from=me key=k`,
			`a.b "[1]" key=k2`,
			`a.b "/w==" encoding=base64`,
			`a.b null`,
		})
	})
}

// fields are those of a message that do not change from run to run.
func fields(t *testing.T, e *Entry) string {
	t.Helper()
	m := fieldsOf(t, e)
	if m.Time != e.Time.UnixMilli() || m.Time == 0 {
		t.Errorf("the time is %d, the log says %v", m.Time, e.Time)
	}
	var s strings.Builder
	s.WriteString(m.Channel + " " + string(m.Data))
	for _, f := range [][2]string{{"type", m.Type}, {"from", m.From}, {"key", m.Key}, {"encoding", m.Encoding}} {
		if f[1] != "" {
			s.WriteString(" " + f[0] + "=" + f[1])
		}
	}
	return s.String()
}

type messageFields struct {
	Channel, Type, From, Key, Encoding string
	Data                               json.RawMessage
	Time                               int64
}

func fieldsOf(t testing.TB, e *Entry) (m messageFields) {
	t.Helper()
	if err := json.Unmarshal(e.Wire.JSON(), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func connectInside(t *testing.T, b *Broker) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(b.server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestWhatIsNoMessageOfAChannelIsSkippedAndCounted(t *testing.T) {
	for _, tail := range []int{1, 1 << 20} {
		bubble(t, func(t *testing.T) {
			b := open(t, Options{TailBytes: tail})
			origin := connectInside(t, b)
			for _, subject := range []string{"ch.a", "ch.no!", "ch.ünicode", "ch." + strings.Repeat("x", 201), "ch.a.*", "ch.>", "ch." + strings.Repeat("a.", 16) + "a", "ch.a"} {
				if err := origin.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := origin.FlushWithContext(deadline(t)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r := newReader(t, b)
			subscribe(t, r, ">", earliest())
			equal(t, "messages", collect(t, r, 2), []string{"1", "8"})
			quiet(t, r)
			if got := b.Stats().Unreadable; got != 6 {
				t.Errorf("%d were counted, want 6", got)
			}
			if got := r.Watermark(); got != b.id(8) {
				t.Errorf("the watermark is %v", got)
			}
			p := history(t, b, "a", protocol.Range{After: new(protocol.Cursor)}, 10)
			equal(t, "history", describeAll(p.Messages), []string{"1", "8"})
		})
	}
}

func TestTheHeadMovesOverWhatIsNoMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		if err := connectInside(t, b).Publish("ch.no!", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Head() != b.id(1) {
			t.Errorf("the head is %v", b.Head())
		}
	})
}

// Who may publish to a channel sees the keys of others there, and must not be able to use them up.
func TestEachPublisherHasKeysOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		type whose struct{ from, keys string }
		store := func(w whose) Receipt {
			t.Helper()
			receipt, err := b.Publish(t.Context(), Publication{Channel: "a", From: w.from, Keys: w.keys, Key: "order-1", Payload: []byte("1")})
			if err != nil {
				t.Fatal(err)
			}
			return receipt
		}
		first := map[whose]Receipt{}
		for _, w := range []whose{{"", "anonymous"}, {"", "token"}, {"", ""}, {"ann", ""}, {"bob", ""}, {"order-1", ""}, {"anonymous", ""}} {
			if first[w] = store(w); first[w].Duplicate {
				t.Errorf("the key of %+v was used up by another", w)
			}
		}
		for w, receipt := range first {
			if again := store(w); !again.Duplicate || again.ID != receipt.ID {
				t.Errorf("the key of %+v again: got %+v, want %v", w, again, receipt.ID)
			}
		}
		if again := store(whose{"ann", "token"}); !again.Duplicate || again.ID != first[whose{"ann", ""}].ID {
			t.Errorf("whoever has a name has keys by it: got %+v", again)
		}
		synctest.Wait() // until the tail has them
		page, err := b.History(t.Context(), "a", protocol.Range{After: new(protocol.Cursor)}, 10)
		if err != nil || len(page.Messages) != len(first) {
			t.Fatalf("got %+v, %v", page, err)
		}
		for _, m := range page.Messages {
			if !strings.Contains(string(m.Wire.JSON()), `"key":"order-1"`) {
				t.Errorf("got %s", m.Wire.JSON())
			}
		}
	})
}

// FuzzEntry: whatever somebody writes to the stream, readers get one frame of the channel, or nothing.
func FuzzEntry(f *testing.F) {
	f.Add("ch.a.b", "t", "me", "text", "a.b/k", false, []byte(`{"x":1}`))
	f.Add("ch.a.b", "a\r\nevent: x", "\x00", "json", "a.b/k letters", false, []byte("a\n\ndata: b"))
	f.Add("ch.a..b", "", "", "base64", "/", true, []byte{0xff})
	b := &Broker{options: Options{Prefix: "ch"}, tail: &tail{epoch: "e"}}
	f.Fuzz(func(t *testing.T, subject, typ, from, encoding, key string, purge bool, data []byte) {
		header := nats.Header{headerType: {typ}, headerFrom: {from}, headerEncoding: {encoding}, headerKey: {key}}
		if purge {
			header[headerPurge] = nil
		}
		e, ok := b.entry(record{seq: 1, subject: subject, header: header, data: data})
		channel, below := strings.CutPrefix(subject, "ch.")
		if is := below && protocol.CheckChannel(channel) == nil; ok != is {
			t.Fatalf("%q is a message: %v", subject, ok)
		}
		if !ok {
			return
		}
		var frame struct{ Op, Channel string }
		if err := json.Unmarshal(e.Wire.JSON(), &frame); err != nil || frame.Channel != channel || (frame.Op == "gap") != purge {
			t.Errorf("got %s, %v", e.Wire.JSON(), err)
		}
		events := 0
		parser := protocol.EventParser{Limit: e.Wire.Len()}
		if err := parser.Feed(e.Wire.Event(), func(protocol.Event) error { events++; return nil }); err != nil || events != 1 {
			t.Errorf("got %q, which is %d events, %v", e.Wire.Event(), events, err)
		}
	})
}

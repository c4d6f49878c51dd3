package fairlead

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/fairlead/fairlead/protocol"
)

type frameVector struct {
	Name, JSON, SSE string
	Message         *struct{ Payload string }
}

func frameVectors(t testing.TB) (vectors []frameVector) {
	t.Helper()
	b, err := os.ReadFile("../../testdata/frames.json")
	if err == nil {
		err = json.Unmarshal(b, &vectors)
	}
	if err != nil || len(vectors) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	return vectors
}

func TestEveryFrameIsRead(t *testing.T) {
	for _, v := range frameVectors(t) {
		f, err := decodeFrame([]byte(v.JSON))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		missing := map[string]bool{
			protocol.OpMessage: f.message == nil, protocol.OpGap: f.gap == nil, protocol.OpWelcome: f.welcome == nil,
			protocol.OpBeat: f.id.Seq == 0, protocol.OpError: f.err == nil || f.err.Code == "",
			protocol.OpGoaway: f.after == 0 || f.reason == "",
		}
		if f.op == "" || missing[f.op] {
			t.Errorf("%s: got %+v", v.Name, f)
		}
		if f.message == nil || v.Message == nil {
			continue
		}
		if string(f.message.Frame) != v.JSON || f.message.Time.UnixMilli() != 1700000000123 {
			t.Errorf("%s: got %+v", v.Name, f.message)
		}
	}
}

// TestFramesSurviveHoweverTheStreamIsCut reads the streams of all vectors byte by byte and at once.
func TestFramesSurviveHoweverTheStreamIsCut(t *testing.T) {
	var sse, lines bytes.Buffer
	var want []string
	sse.WriteString("retry: 1000\n: " + string(bytes.Repeat([]byte{' '}, 2048)) + "\n\n")
	lines.Write(append(bytes.Repeat([]byte{' '}, 2048), '\n'))
	for _, v := range frameVectors(t) {
		sse.WriteString(v.SSE)
		lines.WriteString(v.JSON + "\n")
		want = append(want, v.JSON)
	}
	crlf := bytes.ReplaceAll(sse.Bytes(), []byte("\n"), []byte("\r\n"))
	cr := bytes.ReplaceAll(sse.Bytes(), []byte("\n"), []byte("\r"))
	for name, stream := range map[string]source{
		"SSE":                  &eventSource{body: io.NopCloser(bytes.NewReader(sse.Bytes()))},
		"SSE byte by byte":     &eventSource{body: io.NopCloser(iotest.OneByteReader(bytes.NewReader(sse.Bytes())))},
		"SSE of CRLF":          &eventSource{body: io.NopCloser(iotest.OneByteReader(bytes.NewReader(crlf)))},
		"SSE of CR":            &eventSource{body: io.NopCloser(iotest.DataErrReader(bytes.NewReader(cr)))},
		"stream":               newLineSource(io.NopCloser(bytes.NewReader(lines.Bytes()))),
		"stream, byte by byte": newLineSource(io.NopCloser(iotest.OneByteReader(bytes.NewReader(lines.Bytes())))),
	} {
		for i := range want {
			got, err := stream.next()
			if err != nil || string(got) != want[i] {
				t.Fatalf("%s: frame %d is %q, %v; want %q", name, i, got, err, want[i])
			}
		}
		if got, err := stream.next(); err != io.EOF {
			t.Errorf("%s: got %q, %v; want the end", name, got, err)
		}
	}
}

func TestPayloadsComeBackAsBytes(t *testing.T) {
	for _, c := range []struct {
		p    Publication
		want string
	}{
		{Text("say \"hi\"\n"), "say \"hi\"\n"},
		{Bytes([]byte{0, 255, 1}), "\x00\xff\x01"},
		{Publication{Data: json.RawMessage(`{"a":1}`)}, `{"a":1}`},
		{Publication{}, ""},
	} {
		m := Message{Data: c.p.Data, Encoding: c.p.Encoding}
		if got, err := m.Bytes(); err != nil || string(got) != c.want {
			t.Errorf("got %q, %v; want %q", got, err, c.want)
		}
	}
	if b, err := (&Message{Data: json.RawMessage(`"?"`), Encoding: protocol.EncodingBase64}).Bytes(); err == nil {
		t.Errorf("bad base64 is %q", b)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, v := range frameVectors(f) {
		f.Add([]byte(v.JSON))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPlaces(map[string]protocol.Start{"chat.*": fromStart})
		v, _ := p.view()
		if f, err := decodeFrame(b); err == nil && f.message != nil {
			_, _ = f.message.Bytes()
			_, _ = p.message(v, f.message)
		}
	})
}

func FuzzReadPoll(f *testing.F) {
	f.Add([]byte(`{"frames":[{"op":"beat","id":"a-1"}],"id":"a-1"}`))
	f.Add([]byte(`{"frames":[],"id":"a-1,b-2"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readPoll(io.NopCloser(bytes.NewReader(b)))
		for err == nil {
			_, err = s.next()
		}
	})
}

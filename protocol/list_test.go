package protocol

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// allocated is how many bytes f allocates, whether or not they are let go again.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// parsers are what reads a client's lists.
var parsers = map[string]func([]byte) error{
	"hello":        func(b []byte) error { _, err := ParseHello(b, 1000); return err },
	"command":      func(b []byte) error { _, err := ParseCommand(b); return err },
	"commands":     func(b []byte) error { _, err := ParseCommands(b); return err },
	"publication":  func(b []byte) error { _, err := ParsePublication(b); return err },
	"publications": func(b []byte) error { _, err := ParsePublications(b); return err },
	"fan-out":      func(b []byte) error { _, err := ParseFanout(b); return err },
	"revoke":       func(b []byte) error { _, err := ParseRevoke(b); return err },
}

// A large body costs little more than itself, whatever it holds.
func TestABodyOfManyElementsTakesNoMoreMemoryThanItHas(t *testing.T) {
	const size = 512 << 10
	full := func(before, unit, after string) []byte {
		n := (size - len(before) - len(after)) / (len(unit) + 1)
		return []byte(before + strings.Repeat(unit+",", n) + unit + after)
	}
	lists := map[string][]string{
		"hello": {`{"channels":{`, "}}"}, "commands": {`{"commands":[`, "]}"}, "publications": {"[", "]"}, "fan-out": {`{"data":1,"channels":[`, "]}"},
		"command": {`{"cid":[`, "]}"}, "publication": {`{"data":[`, "]}"}, "revoke": {`{"sub":[`, "]}"},
	}
	for name, parse := range parsers {
		before, after := lists[name][0], lists[name][1]
		units := []string{"{}", `"a"`, "null", `{"data":1}`}
		if name == "hello" {
			units = []string{`"a1":{}`, `"a1":null`, `"a":{"after":"0"}`}
		}
		for _, unit := range units {
			body := full(before, unit, after)
			if n := allocated(func() { _ = parse(body) }); n > 4*size {
				t.Errorf("%s of %.30s…: %d KiB for a body of %d", name, body, n>>10, size>>10)
			}
		}
	}
	for name, list := range map[string]string{"hello": `"channels":{}`, "commands": `"commands":[{}]`, "fan-out": `"channels":["ab"]`} {
		if n := allocated(func() { _ = parsers[name](full("{", list, "}")) }); n > 4*size {
			t.Errorf("%s of %s again and again: %d KiB for a body of %d", name, list, n>>10, size>>10)
		}
	}
	distinct := []byte(`{"channels":{`)
	for i := range size / 16 {
		distinct = fmt.Appendf(distinct, `"a%d":{},`, i)
	}
	distinct = append(distinct, `"z":{}}}`...)
	if n := allocated(func() { _ = parsers["hello"](distinct) }); n > 4*size {
		t.Errorf("channels of different names: %d KiB for a body of %d", n>>10, len(distinct)>>10)
	}
}

// What is not too many is read whole, each with a value as large as may be.
func TestListsOfAsManyAsThereMayBeAreRead(t *testing.T) {
	commands, err := ParseCommands([]byte(`{"commands":[` + strings.Repeat(`{"op":"ping"},`, MaxCommands-1) + `{"op":"bye"}]}`))
	if err != nil || len(commands.Commands) != MaxCommands || string(commands.Commands[MaxCommands-1]) != `{"op":"bye"}` {
		t.Errorf("got %+v, %v", commands, err)
	}
	batch, err := ParsePublications([]byte(`[` + strings.Repeat(`{"data":1},`, MaxBatch-1) + `{"data":2}]`))
	if err != nil || len(batch) != MaxBatch || string(batch[MaxBatch-1].Data) != "2" {
		t.Errorf("got %d, %v", len(batch), err)
	}
	f, err := ParseFanout([]byte(`{"channels":[` + strings.Repeat(`"a",`, MaxBatch-1) + `"b"],"data":3}`))
	if err != nil || len(f.Channels) != MaxBatch || f.Channels[MaxBatch-1] != "b" || string(f.Data) != "3" {
		t.Errorf("got %+v, %v", f, err)
	}
	for name, err := range map[string]error{
		"commands":     parsers["commands"]([]byte(`{"commands":[` + strings.Repeat(`{},`, MaxCommands) + `{}]}`)),
		"publications": parsers["publications"]([]byte(`[` + strings.Repeat(`{},`, MaxBatch) + `{}]`)),
		"fan-out":      parsers["fan-out"]([]byte(`{"channels":[` + strings.Repeat(`"a",`, MaxBatch) + `"a"]}`)),
	} {
		if err == nil || ErrorFrom(err).Code != BadRequest || !strings.Contains(err.Error(), "too many") {
			t.Errorf("one more of %s: got %v", name, err)
		}
	}
}

func TestAHelloIsReadUntilItsChannelsAreTooMany(t *testing.T) {
	for text, want := range map[string]int{`{}`: 0, `{"channels":null}`: 0, `{"channels":{}}`: 0, `{"channels":{"a":{},"b":{}}}`: 2, `{"channels":{"a":{},"b":{},"c":{}}}`: 3, `{"channels":{"a":{},"b":{},"c":{},"d":{},"e":7}}`: 3} {
		h, err := ParseHello([]byte(text), 2)
		if err != nil || len(h.Channels) != want || (h.Check(2) == nil) != (want <= 2) {
			t.Errorf("%s: got %+v, %v", text, h, err)
		}
	}
}

// Errors go to whoever sent what is wrong, and to logs: they repeat no more of it than shows what is meant.
func TestErrorsRepeatLittle(t *testing.T) {
	for _, long := range []string{strings.Repeat("1", 2000), `"` + strings.Repeat("x", 2000) + `"`, `"` + strings.Repeat(`\u0000`, 500) + `"`} {
		for _, field := range []string{"op", "session", "channels", "token", "beat", "wait", "welcome", "attachment", "commands", "type", "data", "encoding", "key", "channel", "after", "before", "last", "limit", "cid", "sub", "jti", "all"} {
			texts := []string{`{"` + field + `":` + long + `}`, `{"` + field + `":[` + long + `]}`, `{"` + field + `":{"a":` + long + `}}`, `{"channels":{"a":{"` + field + `":` + long + `}}}`, `[{"` + field + `":` + long + `}]`}
			if long[0] == '"' {
				texts = append(texts, `{"`+field+`":{`+long+`:{}}}`, `{"op":"subscribe","channel":`+long+`}`)
			}
			for _, text := range texts {
				for name, parse := range parsers {
					err := parse([]byte(text))
					if err == nil && name == "hello" {
						h, _ := ParseHello([]byte(text), 1000)
						err = h.Check(1000)
					}
					if err != nil && len(ErrorFrom(err).Message) > 400 {
						t.Errorf("%s, %.30s…: got %.200s…", name, text, err)
					}
				}
			}
		}
	}
}

// encoding/json reads the same, but for lists that are too long.
func FuzzLists(f *testing.F) {
	for _, text := range []string{`[]`, `[ ]`, `[{"data":[1,{"a":"],"}]} , {"data":"\\"},null]`, `{"channels":{ "a\"}," : {"after":"0"} ,"b":{}}}`, `{"channels":["a","b"],"channels":["c"]}`, `{"commands":[{},[],"x",1,null]}`, `{"channels":null,"commands":null}`, `{"commands":{}}`, `[1]`, `{"channels":{"a":[]}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var batch []*Publication
		list := elements[*Publication]{most: 1000}
		same(t, b, json.Unmarshal(b, &batch), json.Unmarshal(b, &list), batch, list.of)
		var strs []string
		names := elements[string]{most: 1000}
		same(t, b, json.Unmarshal(b, &strs), json.Unmarshal(b, &names), strs, names.of)
		var starts map[string]Start
		object := members[Start]{most: 1000}
		same(t, b, json.Unmarshal(b, &starts), json.Unmarshal(b, &object), starts, object.of)
		var raws map[string]json.RawMessage
		raw := members[json.RawMessage]{most: 1000}
		same(t, b, json.Unmarshal(b, &raws), json.Unmarshal(b, &raw), raws, raw.of)
		var hello Hello
		if json.Unmarshal(b, &hello) == nil && len(hello.Channels) <= 1000 {
			if h, err := ParseHello(b, 1000); err == nil && !(len(h.Channels) == 0 && len(hello.Channels) == 0) && !reflect.DeepEqual(h.Channels, hello.Channels) {
				t.Errorf("%q: got %v, want %v", b, h.Channels, hello.Channels)
			}
		}
	})
}

func same[T any](t *testing.T, b []byte, err1, err2 error, want, got T) {
	t.Helper()
	n := reflect.ValueOf(want).Len()
	if n > 1000 {
		return
	}
	if (err1 == nil) != (err2 == nil) {
		t.Errorf("%q: got %v, want %v", b, err2, err1)
	}
	if err1 == nil && !(n == 0 && reflect.ValueOf(got).Len() == 0) && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %+v, want %+v", b, got, want)
	}
}

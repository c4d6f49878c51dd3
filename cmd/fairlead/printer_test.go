package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	fairlead "github.com/fairlead/fairlead/clients/go"
)

func TestAMessageIsOneLineThatCannotMoveTheCursor(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.Local)
	for _, c := range []struct {
		message fairlead.Message
		colour  bool
		want    string
	}{
		{fairlead.Message{Channel: "a", Data: json.RawMessage(`"hi  ünïcode 🎉"`)}, false, `03:04:05.678  a  hi  ünïcode 🎉`},
		{fairlead.Message{Channel: "a", Type: "t", From: "ann", Data: json.RawMessage(`{ "x" : [ 1 ] }`)}, false, `03:04:05.678  a  t  ann  {"x":[1]}`},
		{fairlead.Message{Channel: "a", Data: json.RawMessage(`null`)}, false, `03:04:05.678  a  null`},
		{fairlead.Message{Channel: "a", Data: json.RawMessage(`"\u001b[2J\n\u0007"`)}, false, `03:04:05.678  a  "\x1b[2J\n\a"`},
		{fairlead.Message{Channel: "a", From: "\u202ebob", Data: json.RawMessage("{\"\u009b2J\":1}")}, false, `03:04:05.678  a  "\u202ebob"  "{\"\u009b2J\":1}"`},
		{fairlead.Message{Channel: "a", Type: "t", Data: json.RawMessage(`1`)}, true, "\x1b[2m03:04:05.678\x1b[0m  \x1b[36ma\x1b[0m  \x1b[33mt\x1b[0m  1"},
	} {
		c.message.Time = at
		var out strings.Builder
		p := printer{out: &out, colour: c.colour}
		if err := p.print(&c.message); err != nil || out.String() != c.want+"\n" {
			t.Errorf("got %q, %v; want %q", out.String(), err, c.want)
		}
	}
}

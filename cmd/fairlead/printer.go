package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// printer prints messages, for people unless json.
type printer struct {
	out     io.Writer
	json    bool
	colour  bool
	printed int
}

// The colours of ECMA-48's SGR.
const (
	dim, cyan, yellow, green = "2", "36", "33", "32"
)

// print prints one message as one line.
func (p *printer) print(m *fairlead.Message) error {
	p.printed++
	if p.json {
		_, err := fmt.Fprintf(p.out, "%s\n", m.Frame)
		return err
	}
	parts := []string{p.paint(dim, m.Time.Format("15:04:05.000")), p.paint(cyan, safe(m.Channel))}
	if m.Type != "" {
		parts = append(parts, p.paint(yellow, safe(m.Type)))
	}
	if m.From != "" {
		parts = append(parts, p.paint(green, safe(m.From)))
	}
	_, err := fmt.Fprintln(p.out, strings.Join(append(parts, readable(m)), "  "))
	return err
}

func (p *printer) paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// readable is the payload for people: a string bare if that is one line, and anything else as JSON.
func readable(m *fairlead.Message) string {
	var text string
	if m.Encoding == protocol.EncodingBase64 || json.Unmarshal(m.Data, &text) != nil || len(m.Data) == 0 || m.Data[0] != '"' {
		var line bytes.Buffer
		if json.Compact(&line, m.Data) != nil {
			return safe(string(m.Data))
		}
		return safe(line.String())
	}
	return safe(text)
}

// safe is s if it can be shown on a terminal as it is, and quoted if not: what
// others publish must not move the cursor or ring the bell.
func safe(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return strconv.QuoteToGraphic(s)
		}
	}
	return s
}

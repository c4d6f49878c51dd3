// Package doctor says in plain words what lies between a client and a gateway:
// which transports get through, which one the client will use, and what to
// change at the proxy. It has the words, once, for the command line and for
// the page that the gateway serves; it judges what was observed, and writes the
// report. What observes is the package probe, and static/doctor.js in a browser.
package doctor

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Words is everything that the doctor can say. It is shared: do not write to it.
var Words = readTable()

// A Severity says what a finding means for its probe.
type Severity string

// The severities.
const (
	Info Severity = "info" // good to know
	Warn Severity = "warn" // works, and can do harm
	Bad  Severity = "bad"  // does not work
)

// Table is the form of findings.json.
type Table struct {
	Ladder []string `json:"ladder"` // the transports, the best first
	Limits struct {
		Welcome float64 `json:"welcome_ms"` // to the first frame: later, and a client will have begun with another transport
		Proof   float64 `json:"proof_ms"`   // from it to the second, that clients wait
		Bunched float64 `json:"bunched_ms"` // frames closer than that came together
		Delayed float64 `json:"delayed_ms"` // beyond four round trips, which a new connection with TLS takes: what is kept back for a moment
		Beat    int64   `json:"beat_ms"`    // asked for while a connection is held idle: the longest that servers grant
	} `json:"limits"`
	Probes map[string]struct {
		Title string `json:"title"`
		OK    string `json:"ok"`
	} `json:"probes"`
	Labels   map[string]string  `json:"labels"`
	Findings map[string]Meaning `json:"findings"`
	Advice   map[string]Advice  `json:"advice"`
}

// A Meaning is what a finding's code stands for.
type Meaning struct {
	Severity Severity `json:"severity"`
	Text     string   `json:"text"` // {name} stands for a value
	Advice   []string `json:"advice"`
}

// Advice is what to change, with the lines for those who run a proxy.
type Advice struct {
	Code    string   `json:"code"`
	Text    string   `json:"text"`
	Nginx   []string `json:"nginx,omitempty"`
	HAProxy []string `json:"haproxy,omitempty"`
	ALB     []string `json:"alb,omitempty"`
}

// Lines are the advice's lines for each of the products that have any, by the product's label.
func (a Advice) Lines(yield func(label string, lines []string) bool) {
	for _, product := range []struct {
		name  string
		lines []string
	}{{"nginx", a.Nginx}, {"haproxy", a.HAProxy}, {"alb", a.ALB}} {
		if len(product.lines) > 0 && !yield(Words.Labels[product.name], product.lines) {
			return
		}
	}
}

func readTable() (t Table) {
	text, err := Page.ReadFile("findings.json")
	if err != nil {
		panic("doctor: " + err.Error())
	}
	if err := json.Unmarshal(text, &t); err != nil {
		panic("doctor: findings.json: " + err.Error())
	}
	for code, a := range t.Advice {
		a.Code = code
		t.Advice[code] = a
	}
	return t
}

// Values are what a text's {names} stand for: strings and numbers. A name that
// ends in _ms is a time in milliseconds.
type Values map[string]any

// A Finding is one thing that was found.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Values   Values   `json:"values,omitempty"`
}

// Found is the finding of that code, with those of the values that its text
// names. It panics if findings.json has none of it.
func Found(code string, values Values) Finding {
	meaning, ok := Words.Findings[code]
	if !ok {
		panic("doctor: findings.json has no " + code)
	}
	told := Values{}
	for name, value := range values {
		if strings.Contains(meaning.Text, "{"+name+"}") {
			told[name] = value
		}
	}
	return Finding{Code: code, Severity: meaning.Severity, Text: fill(meaning.Text, told), Values: told}
}

// fill puts values into a text.
func fill(text string, values Values) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "{"+name+"}", show(name, value))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func show(name string, value any) string {
	ms, ok := value.(float64)
	switch {
	case name == "by" && value == "":
		return ""
	case name == "by": // who answered, as the end of a clause
		return ", from " + clean(fmt.Sprint(value))
	case !ok:
		return clean(fmt.Sprint(value))
	case !strings.HasSuffix(name, "_ms"):
		return strconv.FormatFloat(ms, 'f', -1, 64)
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}

// clean is what others sent, fit for a terminal and for one line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 200 {
		return string(runes[:200]) + "…"
	}
	return s
}

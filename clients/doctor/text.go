package doctor

import (
	"fmt"
	"io"
	"strings"
)

// width is that of the lines that people read; lines of configuration are left as they are.
const width = 96

// A Writer writes a report for people, each part as soon as it is known. It
// keeps the first error.
type Writer struct {
	w   io.Writer
	err error
}

// NewWriter begins a report on the gateway at address.
func NewWriter(w io.Writer, address string) *Writer {
	out := &Writer{w: w}
	out.printf("%s: %s\n\n", Words.Labels["title"], clean(address))
	return out
}

func (w *Writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}

// Probe writes what a probe found: a line, and one more for each finding that did not fit.
func (w *Writer) Probe(p Probe) {
	mark := "no"
	switch {
	case p.Skipped:
		mark = "--"
	case p.OK:
		mark = "ok"
	}
	var texts []string
	if p.Text != "" {
		texts = append(texts, p.Text)
	}
	for _, f := range p.Findings {
		texts = append(texts, f.Text)
	}
	head := fmt.Sprintf("  %s  %-9s  ", mark, Words.Probes[p.Name].Title)
	for _, text := range texts {
		w.paragraph(head, text)
		head = strings.Repeat(" ", len(head))
	}
}

// Conclusion writes what follows, and returns the first error of all writing.
func (w *Writer) Conclusion(r *Report) error {
	w.printf("\n%s\n", Words.Labels["uses"])
	w.paragraph("  ", Words.Labels[r.label()])
	w.printf("\n%s\n", Words.Labels["change"])
	if len(r.Advice) == 0 {
		w.paragraph("  ", Words.Labels["nothing"])
	}
	for i, advice := range r.Advice {
		w.paragraph(fmt.Sprintf("  %d. ", i+1), advice.Text)
		for label, lines := range advice.Lines {
			w.printf("\n     %s\n", label)
			for _, line := range lines {
				w.printf("         %s\n", line)
			}
		}
		if i+1 < len(r.Advice) {
			w.printf("\n")
		}
	}
	return w.err
}

// paragraph writes a text behind head, its further lines under its first.
func (w *Writer) paragraph(head, text string) {
	indent := strings.Repeat(" ", len(head))
	line := head
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && len([]rune(line))+1+len([]rune(word)) > width:
			w.printf("%s\n", line)
			line = indent + word
		case i > 0:
			line += " " + word
		default:
			line += word
		}
	}
	w.printf("%s\n", line)
}

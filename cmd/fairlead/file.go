package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parseFile is the settings of a YAML file by their keys, and all mistakes in
// it: keys that are not among known are some. The values are not looked at yet,
// and no mistake shows one: it may be a secret.
func parseFile(path string, text []byte, known []string) (map[string]given, []error) {
	file := settingsFile{path: path, known: known, settings: map[string]given{}}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return file.settings, []error{&mistake{error: yamlError(path, text, err)}}
	}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			file.section("", doc.Body)
		}
	}
	return file.settings, file.mistakes
}

// yamlError is a library's error with the place, and without the text of the file.
func yamlError(path string, text []byte, err error) error {
	if at, ok := errors.AsType[yaml.Error](err); ok && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", path, at.GetToken().Position.Line, withoutQuotes(at.GetMessage(), text))
	}
	return fmt.Errorf("%s cannot be read as YAML", path)
}

// What is shown of a library's words about a file that may hold secrets, in bytes.
const (
	longQuote   = 16 // quotes from the file that are as long are not shown: names of settings are shorter
	longMessage = 200
)

// withoutQuotes is the message with … instead of what it quotes at length from the text.
func withoutQuotes(message string, text []byte) string {
	message = message[:min(len(message), longMessage)]
	var kept strings.Builder
	for len(message) > 0 {
		n := quoteLength(message, text)
		if n < longQuote {
			kept.WriteByte(message[0])
			message = message[1:]
			continue
		}
		kept.WriteString("…")
		message = message[n:]
	}
	return strings.ToValidUTF8(kept.String(), "…")
}

// quoteLength is for how many bytes the message begins with what stands
// somewhere in the text, or 0 if those are few.
func quoteLength(message string, text []byte) (n int) {
	if len(message) < longQuote {
		return 0
	}
	at := bytes.Index(text, []byte(message[:longQuote]))
	if at < 0 {
		return 0
	}
	for n < len(message) && at+n < len(text) && message[n] == text[at+n] {
		n++
	}
	return n
}

// settingsFile gathers the settings of one file.
type settingsFile struct {
	path     string
	known    []string
	settings map[string]given
	mistakes []error
}

func (f *settingsFile) at(node ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, node.GetToken().Position.Line)
}

// mistaken reports a mistake about the settings whose keys are about, or begin so.
func (f *settingsFile) mistaken(about, format string, args ...any) {
	f.mistakes = append(f.mistakes, &mistake{about, false, fmt.Errorf(format, args...)})
}

// section gathers the settings of node, whose keys begin with prefix.
func (f *settingsFile) section(prefix string, node ast.Node) {
	if _, comments := node.(*ast.CommentGroupNode); comments {
		return
	}
	if isReference(node) {
		f.mistaken(strings.TrimSuffix(prefix, "."), "what is in %s %s", f.at(node), putInQuotes)
		return
	}
	mapping, ok := node.(ast.MapNode)
	if !ok && prefix == "" {
		f.mistaken("", "%s: the file must hold settings, such as listen: 127.0.0.1:8080", f.at(node))
		return
	}
	if !ok {
		f.mistaken(strings.TrimSuffix(prefix, "."), "%s, in %s, has a plain value: it must be a section with the settings %s",
			strings.TrimSuffix(prefix, "."), f.at(node), strings.Join(f.under(prefix), ", "))
		return
	}
	for entry := mapping.MapRange(); entry.Next(); {
		f.setting(prefix+entry.Key().GetToken().Value, entry.KeyValue(), entry.Value())
	}
}

func (f *settingsFile) setting(key string, entry, value ast.Node) {
	switch {
	case slices.Contains(f.known, key):
		if list, ok := value.(*ast.SequenceNode); ok {
			f.list(key, list)
			return
		}
		switch {
		case isPlain(value):
			f.settings[key] = given{value.GetToken().Value, f.at(value)}
		case isReference(value):
			f.mistaken(key, "%s, in %s, %s", key, f.at(value), putInQuotes)
		default:
			f.mistaken(key, "%s has no plain value in %s: write one, such as %s: …, or leave the setting out", key, f.at(entry), key[strings.LastIndexByte(key, '.')+1:])
		}
	case len(f.under(key+".")) > 0:
		f.section(key+".", value)
	default:
		meant := nearest(key, f.known)
		f.mistakes = append(f.mistakes, unknownSetting(nameOnly(key), f.at(entry), meant, meant))
	}
}

// isPlain tells whether the value's token is all there is to it.
func isPlain(value ast.Node) bool {
	switch value.Type() {
	case ast.StringType, ast.BoolType, ast.IntegerType, ast.FloatType:
		return true
	default:
		return false
	}
}

// isReference tells whether the value is an alias, an anchor or a tag, such as a
// pattern that begins with a wildcard becomes if nobody quotes it.
func isReference(value ast.Node) bool {
	switch value.Type() {
	case ast.AliasType, ast.AnchorType, ast.TagType:
		return true
	default:
		return false
	}
}

const putInQuotes = `begins with *, & or !, which stands for something else in YAML: put it in quotes, such as "*.public"`

// nameOnly is the key as far as it can be a setting's name: what follows may be a value with no colon before.
func nameOnly(key string) string {
	const longest = 40
	end := strings.IndexFunc(key, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if end < 0 && len(key) <= longest {
		return key
	}
	if end < 0 || end > longest {
		end = longest
	}
	return strings.ToValidUTF8(key[:end], "") + "…"
}

// list takes a list of plain values as one, with commas between them: it is up to the setting whether it may be that.
func (f *settingsFile) list(key string, list *ast.SequenceNode) {
	texts := make([]string, len(list.Values))
	for i, value := range list.Values {
		if isReference(value) {
			f.mistaken(key, "%s holds, in %s, what %s", key, f.at(value), putInQuotes)
			return
		}
		if !isPlain(value) {
			f.mistaken(key, "%s holds something else than plain values in %s", key, f.at(value))
			return
		}
		texts[i] = value.GetToken().Value
	}
	f.settings[key] = given{strings.Join(texts, ","), f.at(list)}
}

// under are the known keys that begin with prefix.
func (f *settingsFile) under(prefix string) (keys []string) {
	for _, key := range f.known {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// nearest is the name among known that is at most two slips away, or nothing.
func nearest(name string, known []string) (near string) {
	best := 3
	for _, candidate := range known {
		if d := distance(name, candidate); d < best {
			best, near = d, candidate
		}
	}
	return near
}

// distance is the number of characters to insert, delete or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

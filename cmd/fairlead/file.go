package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

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
		return file.settings, []error{&mistake{error: yamlError(path, err)}}
	}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			file.section("", doc.Body)
		}
	}
	return file.settings, file.mistakes
}

// yamlError is a library's error with the place, and without the text of the file.
func yamlError(path string, err error) error {
	if at, ok := errors.AsType[yaml.Error](err); ok && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", path, at.GetToken().Position.Line, at.GetMessage())
	}
	return fmt.Errorf("%s cannot be read as YAML", path)
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
		scalar, ok := value.(ast.ScalarNode)
		if _, block := value.(*ast.LiteralNode); !ok || block || value.Type() == ast.NullType {
			f.mistaken(key, "%s has no plain value in %s: write one, such as %s: …, or leave the setting out", key, f.at(entry), key[strings.LastIndexByte(key, '.')+1:])
			return
		}
		f.settings[key] = given{scalar.GetToken().Value, f.at(value)}
	case len(f.under(key+".")) > 0:
		f.section(key+".", value)
	default:
		meant := nearest(key, f.known)
		f.mistakes = append(f.mistakes, unknownSetting(key, f.at(entry), meant, meant))
	}
}

// list takes a list of plain values as one, with commas between them: it is up to the setting whether it may be that.
func (f *settingsFile) list(key string, list *ast.SequenceNode) {
	texts := make([]string, len(list.Values))
	for i, value := range list.Values {
		if _, plain := value.(ast.ScalarNode); !plain {
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

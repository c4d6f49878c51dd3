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

// parseFile is the settings of a YAML file by their keys. Keys that are not
// among known are refused. The values are not looked at yet.
func parseFile(path string, text []byte, known []string) (map[string]given, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		if at, ok := errors.AsType[yaml.Error](err); ok {
			return nil, usagef("%s:%d: %s", path, at.GetToken().Position.Line, at.GetMessage())
		}
		return nil, usagef("%s: %w", path, err)
	}
	file := settingsFile{path: path, known: known, settings: map[string]given{}}
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if err := file.section("", doc.Body); err != nil {
			return nil, err
		}
	}
	return file.settings, nil
}

// settingsFile gathers the settings of one file.
type settingsFile struct {
	path     string
	known    []string
	settings map[string]given
}

func (f *settingsFile) at(node ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, node.GetToken().Position.Line)
}

// section gathers the settings of node, whose keys begin with prefix.
func (f *settingsFile) section(prefix string, node ast.Node) error {
	if _, comments := node.(*ast.CommentGroupNode); comments {
		return nil
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		if prefix == "" {
			return usagef("%s: the file must hold settings, such as listen: 127.0.0.1:8080", f.at(node))
		}
		return usagef("%s is %q, from %s: it must be a section with the settings %s",
			strings.TrimSuffix(prefix, "."), node.String(), f.at(node), strings.Join(f.under(prefix), ", "))
	}
	for entry := mapping.MapRange(); entry.Next(); {
		key := prefix + entry.Key().GetToken().Value
		if err := f.setting(key, entry.KeyValue(), entry.Value()); err != nil {
			return err
		}
	}
	return nil
}

func (f *settingsFile) setting(key string, entry, value ast.Node) error {
	switch {
	case slices.Contains(f.known, key):
		if list, ok := value.(*ast.SequenceNode); ok {
			return f.list(key, list)
		}
		scalar, ok := value.(ast.ScalarNode)
		if _, block := value.(*ast.LiteralNode); !ok || block || value.Type() == ast.NullType {
			return usagef("%s has no plain value in %s: write one, such as %s: …, or leave the setting out", key, f.at(entry), key[strings.LastIndexByte(key, '.')+1:])
		}
		f.settings[key] = given{scalar.GetToken().Value, f.at(value)}
		return nil
	case len(f.under(key+".")) > 0:
		return f.section(key+".", value)
	default:
		return unknownSetting(key, strings.TrimSpace(value.String()), f.at(entry), f.known)
	}
}

// list takes a list of plain values as one, with commas between them: it is up to the setting whether it may be that.
func (f *settingsFile) list(key string, list *ast.SequenceNode) error {
	texts := make([]string, len(list.Values))
	for i, value := range list.Values {
		if _, plain := value.(ast.ScalarNode); !plain {
			return usagef("%s holds something else than plain values in %s", key, f.at(value))
		}
		texts[i] = value.GetToken().Value
	}
	f.settings[key] = given{strings.Join(texts, ","), f.at(list)}
	return nil
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

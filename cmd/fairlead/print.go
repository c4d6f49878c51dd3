package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// print writes the settings as a file that --config reads back to the same
// settings, but for secrets: what stands in their place is refused. Each line
// says where its setting came from.
func (c *config) print(w io.Writer, origin func(key string) string) error {
	comments := yaml.CommentMap{}
	document := section(reflect.ValueOf(c).Elem(), func(key string, value any) {
		comment := " " + origin(key)
		if value == hidden {
			comment += ", and not shown: write it here, or in a file of its own"
		}
		comments["$."+key] = []*yaml.Comment{yaml.LineComment(comment)}
	})
	text, err := yaml.MarshalWithOptions(document, yaml.WithComment(comments))
	if err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// section is a struct of settings in its order, by the last parts of their
// keys; visit is called with each whole key and the value, as it may be shown.
func section(settings reflect.Value, visit func(key string, value any)) (items yaml.MapSlice) {
	for i := range settings.NumField() {
		field, value := settings.Type().Field(i), settings.Field(i)
		key := field.Tag.Get("key")
		if key == "" {
			items = append(items, yaml.MapItem{Key: strings.ToLower(field.Name), Value: section(value, visit)})
			continue
		}
		shown := plain(value.Interface(), field.Tag.Get("form"))
		visit(key, shown)
		items = append(items, yaml.MapItem{Key: key[strings.LastIndexByte(key, '.')+1:], Value: shown})
	}
	return items
}

// plain is a setting's value as YAML has it, and as it may be shown.
func plain(value any, form string) any {
	switch v := value.(type) {
	case fmt.Stringer: // sizes, lists, secrets
		if d, ok := value.(time.Duration); ok {
			return formatDuration(d)
		}
		return v.String()
	case string:
		return shown(v, v, form)
	default:
		return v
	}
}

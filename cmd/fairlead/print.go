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
// settings. Each line says where its setting came from.
func (c *config) print(w io.Writer, origin func(key string) string) error {
	comments := yaml.CommentMap{}
	document := section(reflect.ValueOf(c).Elem(), func(key string) {
		comments["$."+key] = []*yaml.Comment{yaml.LineComment(" " + origin(key))}
	})
	text, err := yaml.MarshalWithOptions(document, yaml.WithComment(comments))
	if err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// section is a struct of settings in its order, by the last parts of their
// keys; visit is called with each whole key.
func section(settings reflect.Value, visit func(key string)) (items yaml.MapSlice) {
	for i := range settings.NumField() {
		field, value := settings.Type().Field(i), settings.Field(i)
		key := field.Tag.Get("key")
		if key == "" {
			items = append(items, yaml.MapItem{Key: strings.ToLower(field.Name), Value: section(value, visit)})
			continue
		}
		visit(key)
		items = append(items, yaml.MapItem{Key: key[strings.LastIndexByte(key, '.')+1:], Value: plain(value.Interface())})
	}
	return items
}

// plain is a setting's value as YAML has it.
func plain(value any) any {
	switch v := value.(type) {
	case size:
		return v.String()
	case networks:
		return v.String()
	case time.Duration:
		return formatDuration(v)
	default:
		return v
	}
}

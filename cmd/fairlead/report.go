package main

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
)

// A report is what is wrong, or doubtful, about settings that are each right by
// themselves. Not for concurrent use.
type report struct {
	origin func(key string) string // where a setting came from
	unread func(key string) bool   // nil, or tells that a setting is not what was written, and so nothing is reported of it
	shown  map[string]string       // values by key, as they may be shown

	errors   []error // a gateway is not started with these
	warnings []error
}

// newReport is an empty report on the settings.
func newReport(c *config, origin func(key string) string) *report {
	r := &report{origin: origin, shown: map[string]string{}}
	section(reflect.ValueOf(c).Elem(), func(key string, value any) { r.shown[key] = fmt.Sprint(value) })
	return r
}

// beside is the report, for what is to be said of a setting because of what
// others are; or, if one of those could not be read, one that nobody looks at.
func (r *report) beside(keys ...string) *report {
	if r.unread != nil && slices.ContainsFunc(keys, r.unread) {
		return &report{origin: r.origin}
	}
	return r
}

// wrong reports that the setting cannot be as it is. The advice says what to do.
func (r *report) wrong(key, advice string, args ...any) {
	r.add(&r.errors, key, advice, args)
}

// doubtful reports that the setting is likely not what was meant.
func (r *report) doubtful(key, advice string, args ...any) {
	r.add(&r.warnings, key, advice, args)
}

func (r *report) add(to *[]error, key, advice string, args []any) {
	if r.unread == nil || !r.unread(key) {
		*to = append(*to, &settingError{key: key, value: r.shown[key], origin: r.origin(key), advice: fmt.Sprintf(advice, args...)})
	}
}

// given tells whether somebody has set the setting.
func (r *report) given(key string) bool { return r.origin(key) != defaultOrigin }

// err is all that is wrong, or nil.
func (r *report) err() error {
	if len(r.errors) == 0 {
		return nil
	}
	return usageError{errors.Join(r.errors...)}
}

// log tells of what is doubtful.
func (r *report) log(log *slog.Logger) {
	for _, err := range r.warnings {
		if e, ok := errors.AsType[*settingError](err); ok {
			log.Warn("a setting is doubtful", "setting", e.key, "value", e.value, "from", e.origin, "advice", e.advice)
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// sources are where settings come from: the arguments, else the environment,
// else the file of --config. It is a kong.Resolver, for what the arguments leave
// out. Not for concurrent use.
type sources struct {
	args []string
	env  map[string]string

	loaded   bool
	path     string            // of the file; "" for none
	file     map[string]given  // by key
	origins  map[string]string // by key, of the settings that are not the default
	mistakes []error           // all that is wrong with settings, each by itself
	unread   []string          // the keys, or beginnings of keys, of what could not be read for that; "" is all
	slips    []string          // the keys that were meant where something else is written
}

// mistaken remembers a mistake: the others are looked for as well before any is told of.
func (s *sources) mistaken(err error) {
	s.mistakes = append(s.mistakes, err)
	if e, ok := errors.AsType[*settingError](err); ok {
		s.unread = append(s.unread, e.key)
	}
	if e, ok := errors.AsType[*mistake](err); ok && e.slip {
		s.slips = append(s.slips, e.about)
	} else if ok {
		s.unread = append(s.unread, e.about)
	}
}

// isUnread tells whether somebody has written something for the setting that
// could not be read, so that it is the default, which nobody meant.
func (s *sources) isUnread(key string) bool {
	return slices.ContainsFunc(s.unread, func(about string) bool {
		return about == "" || about == key || strings.HasPrefix(key, about+".")
	}) || slices.Contains(s.slips, key) && s.originOf(key) == defaultOrigin
}

// A mistake is one in how settings are written.
type mistake struct {
	about string // the key that it is about, or the beginning of several; "" for all
	slip  bool   // something else is written for it; "" for nothing
	error
}

// Unwrap returns what is wrong.
func (m *mistake) Unwrap() error { return m.error }

// Validate implements kong.Resolver.
func (s *sources) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. It is called for each flag that the command line leaves out.
func (s *sources) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	variable := variableOf(flag.Value)
	key := flag.Tag.Get("key")
	if key == "" {
		if text, ok := s.env[variable]; ok && variable != "" {
			return text, nil
		}
		return nil, nil
	}
	s.load(ctx)
	value, ok := s.file[key]
	if text, set := s.env[variable]; set {
		value, ok = given{text, variable}, true
	}
	if !ok {
		return nil, nil
	}
	s.origins[key] = value.origin
	return value, nil
}

// load reads the file, once. Whatever is no setting is a mistake.
func (s *sources) load(ctx *kong.Context) {
	if s.loaded {
		return
	}
	s.loaded = true
	s.origins = map[string]string{}
	known := settingKeys()
	s.checkVariables(known)
	path := s.env["FAIRLEAD_CONFIG"]
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			path = ctx.FlagValue(p.Flag).(string)
		}
		if p.Flag != nil && p.Flag.Tag.Has("key") {
			s.origins[p.Flag.Tag.Get("key")] = "--" + p.Flag.Name
		}
	}
	s.path = path
	if path == "" {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.mistaken(&mistake{error: &settingError{key: "config", value: path, origin: s.originOfConfig(ctx), advice: "it must be a file that can be read (" + err.Error() + ")"}})
		return
	}
	var mistakes []error
	s.file, mistakes = parseFile(path, text, known)
	for _, err := range mistakes {
		s.mistaken(err)
	}
}

// defaultOrigin is where a setting comes from that nobody has set.
const defaultOrigin = "default"

// originOf is where the setting came from, for people.
func (s *sources) originOf(key string) string {
	if origin, ok := s.origins[key]; ok {
		return origin
	}
	return defaultOrigin
}

func (s *sources) originOfConfig(ctx *kong.Context) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return "--config"
		}
	}
	return "FAIRLEAD_CONFIG"
}

// settingKeys are the keys of all settings, in their order.
func settingKeys() (keys []string) {
	section(reflect.ValueOf(config{}), func(key string, _ any) { keys = append(keys, key) })
	return keys
}

// checkVariables finds variables that look like settings and are none.
func (s *sources) checkVariables(known []string) {
	variables := []string{"FAIRLEAD_CONFIG", "FAIRLEAD_URL", "FAIRLEAD_TOKEN", "FAIRLEAD_TOKEN_FILE"}
	for _, key := range known {
		variables = append(variables, variableOfKey(key))
	}
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		if strings.HasPrefix(name, "FAIRLEAD_") && !slices.Contains(variables, name) && !isServiceLink(name) {
			meant := nearest(name, variables)
			s.mistaken(unknownSetting(name, "the environment", meant, keyOfVariable(meant, known)))
		}
	}
}

// isServiceLink tells whether Kubernetes sets the variable by itself in each
// pod beside a service that is named fairlead.
func isServiceLink(name string) bool {
	return name == "FAIRLEAD_PORT" || strings.HasPrefix(name, "FAIRLEAD_PORT_") || strings.HasPrefix(name, "FAIRLEAD_SERVICE_")
}

// unknownSetting is the error for a setting that does not exist. It does not
// show the value: that of a secret's name with a slip in it is one. meant is
// what it may have been, and key the setting of that; or they are empty.
func unknownSetting(name, origin, meant, key string) error {
	hint := "fairlead serve --help lists them"
	if meant != "" {
		hint = fmt.Sprintf("did you mean %s?", meant)
	}
	return &mistake{key, true, fmt.Errorf("%s, in %s, is not a setting: %s", name, origin, hint)}
}

// keyOfVariable is the one of the keys that has the variable, or nothing.
func keyOfVariable(variable string, keys []string) string {
	for _, key := range keys {
		if variableOfKey(key) == variable {
			return key
		}
	}
	return ""
}

// variableOf is the environment variable of a flag, or nothing.
func variableOf(value *kong.Value) string {
	if key := value.Tag.Get("key"); key != "" {
		return variableOfKey(key)
	}
	return value.Tag.Get("variable")
}

func variableOfKey(key string) string {
	return "FAIRLEAD_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// helpWithSources is a kong.HelpValueFormatter that adds the default and the variable.
func helpWithSources(value *kong.Value) string {
	help := value.Help
	if value.Default != "" && value.Default != "false" {
		help += " Default: " + value.Default
	}
	if variable := variableOf(value); variable != "" {
		help += " [$" + variable + "]"
	}
	return help
}

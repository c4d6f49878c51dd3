package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// sources are where settings that no flag gives come from: the environment,
// then the file of --config. It is a kong.Resolver. Not for concurrent use.
type sources struct {
	env map[string]string

	loaded  bool
	file    map[string]given  // by key
	origins map[string]string // by key, of the settings that are not the default
}

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
	if err := s.load(ctx); err != nil {
		return nil, err
	}
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

// load reads the file, once, and refuses whatever is no setting.
func (s *sources) load(ctx *kong.Context) error {
	if s.loaded {
		return nil
	}
	s.loaded = true
	s.origins = map[string]string{}
	known := knownSettings(ctx)
	if err := s.checkVariables(known); err != nil {
		return err
	}
	path := s.env["FAIRLEAD_CONFIG"]
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			path = ctx.FlagValue(p.Flag).(string)
		}
		if p.Flag != nil && p.Flag.Tag.Has("key") {
			s.origins[p.Flag.Tag.Get("key")] = "--" + p.Flag.Name
		}
	}
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return &settingError{key: "config", value: path, origin: s.originOfConfig(ctx), allowed: "a file that can be read (" + err.Error() + ")"}
	}
	s.file, err = parseFile(path, text, known)
	return err
}

// originOf is where the setting came from, for people.
func (s *sources) originOf(key string) string {
	if origin, ok := s.origins[key]; ok {
		return origin
	}
	return "default"
}

func (s *sources) originOfConfig(ctx *kong.Context) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return "--config"
		}
	}
	return "FAIRLEAD_CONFIG"
}

// knownSettings are the keys of the selected command's settings, in their order.
func knownSettings(ctx *kong.Context) (keys []string) {
	for _, flag := range ctx.Selected().Flags {
		if flag.Tag.Has("key") {
			keys = append(keys, flag.Tag.Get("key"))
		}
	}
	return keys
}

// checkVariables refuses variables that look like settings and are none.
func (s *sources) checkVariables(known []string) error {
	variables := []string{"FAIRLEAD_CONFIG", "FAIRLEAD_URL"}
	for _, key := range known {
		variables = append(variables, variableOfKey(key))
	}
	for name, value := range s.env {
		if !strings.HasPrefix(name, "FAIRLEAD_") || slices.Contains(variables, name) || isServiceLink(name) {
			continue
		}
		return unknownSetting(name, value, "the environment", variables)
	}
	return nil
}

// isServiceLink tells whether Kubernetes sets the variable by itself in each
// pod beside a service that is named fairlead.
func isServiceLink(name string) bool {
	return name == "FAIRLEAD_PORT" || strings.HasPrefix(name, "FAIRLEAD_PORT_") || strings.HasPrefix(name, "FAIRLEAD_SERVICE_")
}

// unknownSetting is the error for a setting that does not exist, with the ones that do.
func unknownSetting(name, value, origin string, known []string) error {
	hint := ""
	if near := nearest(name, known); near != "" {
		hint = fmt.Sprintf(" Did you mean %s?", near)
	}
	return usagef("%s, set to %q in %s, is not a setting.%s There are: %s", name, value, origin, hint, strings.Join(known, ", "))
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

// helpWithVariable is a kong.HelpValueFormatter that adds the variable.
func helpWithVariable(value *kong.Value) string {
	if variable := variableOf(value); variable != "" {
		return value.Help + " [$" + variable + "]"
	}
	return value.Help
}

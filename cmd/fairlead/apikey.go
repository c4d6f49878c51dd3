package main

import (
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/fairlead/fairlead/gateway/auth"
)

// apiKeyEntry is an API key in the file of auth.api_keys: not the key itself.
type apiKeyEntry struct {
	Name      string   `yaml:"name"`
	Hash      string   `yaml:"hash"`
	Subscribe []string `yaml:"subscribe,flow,omitempty"`
	Publish   []string `yaml:"publish,flow,omitempty"`
	Presence  []string `yaml:"presence,flow,omitempty"`
	Manage    []string `yaml:"manage,flow,omitempty"`
}

// readAPIKeys is the API keys of a file. Its errors show no value of the file:
// somebody may have written a key into it instead of its hash.
func readAPIKeys(path string) ([]auth.APIKey, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	entries, err := parseAPIKeys(text)
	if err != nil {
		return nil, fmt.Errorf("it must be a list of keys as fairlead api-key prints them: %w", yamlError(path, err))
	}
	keys := make([]auth.APIKey, len(entries))
	for i, e := range entries {
		keys[i] = e.key()
		if len(e.Subscribe)+len(e.Publish)+len(e.Presence)+len(e.Manage) == 0 {
			return nil, fmt.Errorf("the API key %q may do nothing: give it subscribe, publish, presence or manage, or take it out", e.Name)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the file holds no key: make one with fairlead api-key, or leave auth.api_keys out")
	}
	return keys, tryVerifier(auth.Options{APIKeys: keys})
}

func parseAPIKeys(text []byte) (entries []apiKeyEntry, err error) {
	defer func() { // go-yaml 1.19 panics where a list is to be and a tag is, such as in "!x 0": a reload must not end the gateway
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the YAML library failed: %v", fault)
		}
	}()
	err = yaml.UnmarshalWithOptions(text, &entries, yaml.Strict())
	return entries, err
}

// key is the entry as the gateway has it.
func (e apiKeyEntry) key() auth.APIKey {
	return auth.APIKey{
		Name:   e.Name,
		Hash:   e.Hash,
		Rights: auth.Rights{Subscribe: e.Subscribe, Publish: e.Publish, Presence: e.Presence},
		Manage: e.Manage,
	}
}

type apiKeyCmd struct {
	Name      string   `arg:"" help:"What people are to call it, in logs too."`
	Subscribe []string `placeholder:"PATTERN" help:"Channels that it may read. May be given several times, as those below."`
	Publish   []string `placeholder:"PATTERN" help:"Channels that it may publish to."`
	Presence  []string `placeholder:"PATTERN" help:"Channels whose presence it may see."`
	Manage    []string `placeholder:"PATTERN" help:"Channels that it may purge. > is also the right to revoke tokens."`
}

// Run makes an API key. The key goes to stdout, once, and what the gateway may
// know of it to stderr: append that to the file of auth.api_keys.
func (cmd *apiKeyCmd) Run(std stdio) error {
	key := auth.NewAPIKey()
	entry := apiKeyEntry{Name: cmd.Name, Hash: auth.HashAPIKey(key), Subscribe: cmd.Subscribe, Publish: cmd.Publish, Presence: cmd.Presence, Manage: cmd.Manage}
	if len(cmd.Subscribe)+len(cmd.Publish)+len(cmd.Presence)+len(cmd.Manage) == 0 {
		return usagef("the key could do nothing: give it --publish, --subscribe, --presence or --manage")
	}
	if err := tryVerifier(auth.Options{APIKeys: []auth.APIKey{entry.key()}}); err != nil {
		return usagef("%s", plainly(err))
	}
	text, err := yaml.Marshal([]apiKeyEntry{entry})
	if err != nil {
		return fmt.Errorf("print the entry: %w", err)
	}
	if _, err := fmt.Fprintln(std.out, key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.err, "# for the file of auth.api_keys\n%s", text)
	return err
}

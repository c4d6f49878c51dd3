package main

import (
	"errors"
	"fmt"
	"io"
	"os"

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
	return checkAPIKeys(path, text)
}

// checkAPIKeys is the API keys of a file that holds the text.
func checkAPIKeys(path string, text []byte) ([]auth.APIKey, error) {
	entries, err := parseAPIKeys(text)
	if err != nil {
		return nil, fmt.Errorf("it must be a list of keys as fairlead api-key prints them: %w", yamlError(path, text, err))
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
	File      string   `placeholder:"FILE" help:"Append what the gateway is to know of it to this file of auth.api_keys, made if need be, instead of printing it."`
}

// Run makes an API key. The key goes to stdout, once, and what the gateway may
// know of it to the end of the file, or to stderr.
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
	if cmd.File != "" {
		return appendAPIKey(cmd.File, text, func() error {
			_, err := fmt.Fprintln(std.out, key)
			return err
		})
	}
	if _, err := fmt.Fprintln(std.out, key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.err, "# for the file of auth.api_keys\n%s", text)
	return err
}

// appendAPIKey appends an entry to the file, unless the whole would not be one
// of API keys any more, such as because a name comes twice. It calls ready
// before, and on its error appends nothing. The file stays the same file, since
// a container may have just that, and holds all of the entry or nothing of it.
func appendAPIKey(path string, entry []byte, ready func() error) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return usagef("--file must be a file that can be written (%w)", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return usagef("--file must be a file that can be read (%w)", err)
	}
	before := int64(len(text))
	if before > 0 && text[before-1] != '\n' {
		entry = append([]byte("\n"), entry...)
	}
	text = append(text, entry...)
	if len(text) > maxFile {
		return usagef("--file would have more than %d bytes: begin another one", maxFile)
	}
	if _, err := checkAPIKeys(path, text); err != nil {
		return usagef("--file %s: with the new key %s", path, plainly(err))
	}
	if err := ready(); err != nil {
		return err
	}
	_, err = file.Write(entry)
	if err = errors.Join(err, file.Sync()); err != nil {
		return fmt.Errorf("append to %s: %w", path, errors.Join(err, file.Truncate(before)))
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io"
)

type checkConfigCmd struct {
	config `embed:""`
	Config string `name:"config" variable:"FAIRLEAD_CONFIG" placeholder:"FILE" help:"A YAML file of settings."`
}

// Run prints all that is wrong and doubtful about the settings, and about the
// files that they name. It fails if something is wrong.
func (cmd *checkConfigCmd) Run(std stdio, sources *sources) error {
	r := cmd.check(sources.originOf)
	cmd.examine(r)
	if err := r.print(std.out); err != nil {
		return err
	}
	if n := len(r.errors); n > 0 {
		return usagef("the settings cannot be used: %d of these are errors", n)
	}
	return nil
}

// print writes one finding a line.
func (r *report) print(w io.Writer) error {
	var failed error
	line := func(kind string, err error) {
		_, printErr := fmt.Fprintf(w, "%-7s  %s\n", kind, err)
		failed = errors.Join(failed, printErr)
	}
	for _, err := range r.errors {
		line("error", err)
	}
	for _, err := range r.warnings {
		line("warning", err)
	}
	if len(r.errors)+len(r.warnings) == 0 {
		_, failed = fmt.Fprintln(w, "the settings are in order")
	}
	return failed
}

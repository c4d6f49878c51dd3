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
// files that they name, all of it at once. Of a setting that cannot be read
// nothing else is said. It fails if something is wrong.
func (cmd *checkConfigCmd) Run(std stdio, sources *sources) error {
	r := newReport(&cmd.config, sources.originOf)
	r.errors, r.unread = sources.mistakes, sources.isUnread
	cmd.checkAll(r)
	cmd.examine(r)
	if err := r.print(std.out); err != nil {
		return err
	}
	switch n := len(r.errors); n {
	case 0:
		return nil
	case 1:
		return usagef("the settings cannot be used: there is an error")
	default:
		return usagef("the settings cannot be used: there are %d errors", n)
	}
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

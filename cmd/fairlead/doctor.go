package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/clients/doctor/probe"
)

type doctorCmd struct {
	URL      string        `arg:"" optional:"" name:"url" help:"The gateway; by default $FAIRLEAD_URL, or http://127.0.0.1:8080."`
	Timeout  time.Duration `default:"5s" help:"Bounds each step: reaching the gateway, the transports all at once, a second try." placeholder:"DURATION"`
	Idle     time.Duration `help:"Then hold each transport that works idle for so long, such as 75s, to find out when it is cut. Off by default." placeholder:"DURATION"`
	Insecure bool          `help:"Go on though the certificate is not trusted."`
	JSON     bool          `name:"json" help:"Print the report as JSON."`
	bearer
}

var (
	errNoTransport = errors.New("no transport works from here: the report says what to change")
	errDenied      = errors.New("the gateway lets nobody in like this: the report says what to do")
)

// Run examines the way to a gateway. It fails if no transport works.
func (cmd *doctorCmd) Run(ctx context.Context, std stdio, sources *sources) error {
	cmd.URL = cmp.Or(cmd.URL, sources.env["FAIRLEAD_URL"], "http://127.0.0.1:8080")
	if err := probe.Check(cmd.URL); err != nil {
		return usageError{err}
	}
	if cmd.Timeout <= 0 || cmd.Idle < 0 {
		return usagef("--timeout is %v and --idle is %v: give times such as 5s", cmd.Timeout, cmd.Idle)
	}
	token, err := cmd.token(ctx, sources)
	if err != nil {
		return err
	}
	options := probe.Options{Token: token, Timeout: cmd.Timeout, Idle: cmd.Idle, Insecure: cmd.Insecure}
	var out *doctor.Writer
	if !cmd.JSON {
		out = doctor.NewWriter(std.out, cmd.URL)
		options.Each = out.Probe
	}
	report, err := probe.Run(ctx, cmd.URL, options)
	if err != nil {
		return err
	}
	if cmd.JSON {
		encoder := json.NewEncoder(std.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(report)
	} else {
		err = out.Conclusion(report)
	}
	switch {
	case err != nil || report.Works:
		return err
	case report.Denied():
		return errDenied
	default:
		return errNoTransport
	}
}

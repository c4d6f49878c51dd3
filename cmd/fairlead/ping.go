package main

import (
	"context"
	"fmt"
	"time"
)

type pingCmd struct {
	Timeout  time.Duration `default:"2s" help:"Give up after this." placeholder:"DURATION"`
	Insecure bool          `help:"Go on though the certificate is not trusted, and send no token."`
	remote
}

// Run prints where the gateway's log stands. It is the image's health check:
// that has no shell, and no curl, and reaches the gateway by another name than
// the certificate's.
func (cmd *pingCmd) Run(ctx context.Context, std stdio, sources *sources) error {
	client, err := cmd.client(std.err, sources)
	if cmd.Insecure {
		client, err = cmd.insecureClient()
	}
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, cmd.Timeout)
	defer cancel()
	pong, err := client.Ping(ctx)
	if err != nil {
		return cmd.explain(err, sources)
	}
	_, err = fmt.Fprintln(std.out, pong.ID)
	return err
}

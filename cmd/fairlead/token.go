package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
)

type tokenCmd struct {
	Sub       string        `placeholder:"NAME" help:"Who it is for: what is published with it comes from that name."`
	Subscribe []string      `placeholder:"PATTERN" help:"Channels that it may read. May be given several times, as those below."`
	Publish   []string      `placeholder:"PATTERN" help:"Channels that it may publish to."`
	Presence  []string      `placeholder:"PATTERN" help:"Channels whose presence it may see."`
	TTL       time.Duration `name:"ttl" default:"1h" placeholder:"DURATION" help:"How long it is good for."`

	Auth   authConfig `embed:"" prefix:"auth-"`
	Config string     `name:"config" variable:"FAIRLEAD_CONFIG" placeholder:"FILE" help:"The YAML file of the gateway's settings."`
}

// Run makes a token with the first key of the gateway's that can, and prints nothing else to stdout.
func (cmd *tokenCmd) Run(std stdio, sources *sources) error {
	minter, err := cmd.minter(sources)
	if err != nil {
		return usageError{err}
	}
	switch {
	case cmd.TTL <= 0:
		return usagef("--ttl is %s: give it a time such as 1h", cmd.TTL)
	case cmd.TTL > cmd.Auth.MaxLifetime:
		return usagef("--ttl is %s, and the gateway takes at most %s, which is auth.max_lifetime", formatDuration(cmd.TTL), formatDuration(cmd.Auth.MaxLifetime))
	}
	rights := auth.Rights{Subscribe: cmd.Subscribe, Publish: cmd.Publish, Presence: cmd.Presence}
	token, err := minter.Mint(cmd.Sub, rights, cmd.TTL)
	if err != nil {
		return usagef("%s", plainly(err))
	}
	if len(cmd.Subscribe)+len(cmd.Publish)+len(cmd.Presence) == 0 {
		fmt.Fprintln(std.err, "the token allows nothing: give it --subscribe, --publish or --presence")
	}
	_, err = fmt.Fprintln(std.out, token)
	return err
}

// minter signs with the first key whose private part is configured.
func (cmd *tokenCmd) minter(sources *sources) (*auth.Minter, error) {
	settings := &config{Auth: cmd.Auth}
	r := newReport(settings, sources.originOf)
	keys := settings.Auth.readKeys(r)
	if len(r.errors) > 0 {
		return nil, errors.Join(r.errors...)
	}
	audience := ""
	if len(cmd.Auth.Audience) > 0 {
		audience = cmd.Auth.Audience[0]
	}
	for _, key := range keys {
		if minter, err := auth.NewMinter(key, cmd.Auth.Issuer, audience); err == nil {
			return minter, nil
		}
	}
	return nil, errors.New("there is no key to sign with: give the gateway's --config, or --auth-secret-file (put a secret there with openssl rand -base64 32), or --auth-keys with a private key, or set FAIRLEAD_AUTH_SECRET; public keys and auth.jwks can only check")
}

package main

import (
	"slices"
	"strings"
	"time"
)

// hasKeys tells whether there are tokens.
func (a *authConfig) hasKeys() bool {
	return a.Secret != "" || a.SecretFile != "" || len(a.Keys) > 0 || a.JWKS != ""
}

// hasAnonymous tells whether who shows nothing may do something.
func (a *authConfig) hasAnonymous() bool {
	return len(a.Anonymous.Subscribe)+len(a.Anonymous.Publish)+len(a.Anonymous.Presence) > 0
}

func (c *config) checkAuth(r *report) {
	a := &c.Auth
	if a.JWKS != "" && a.Issuer == "" && len(a.Audience) == 0 {
		r.beside("auth.issuer", "auth.audience").wrong("auth.jwks", "its keys may sign tokens for other applications too: say which are for this one with auth.audience, or at least auth.issuer")
	}
	if a.Grace > a.MaxLifetime {
		r.beside("auth.max_lifetime").wrong("auth.grace", "it must be a duration of at most auth.max_lifetime, which is %s", formatDuration(a.MaxLifetime))
	}
	if a.Skew > a.MaxLifetime {
		r.beside("auth.max_lifetime").wrong("auth.skew", "it must be a duration of at most auth.max_lifetime, which is %s", formatDuration(a.MaxLifetime))
	}
	if c.Insecure && !c.open() {
		r.doubtful("insecure", "it has no effect, but would have on the day when the keys are gone: leave it out")
	}
	a.checkAnonymous(r)
	if a.hasKeys() {
		c.checkTokens(r)
		return
	}
	for _, key := range []string{"auth.issuer", "auth.audience", "auth.skew", "auth.max_lifetime", "auth.grace"} {
		if r.given(key) {
			r.beside(keySettings...).doubtful(key, "there are no tokens for it to be about: configure auth.secret, auth.keys or auth.jwks")
		}
	}
	if a.APIKeys != "" && !a.hasAnonymous() {
		r.beside(keySettings...).beside(anonymousSettings...).doubtful("auth.api_keys", "only origins can come in: configure auth.secret, auth.keys or auth.jwks for their clients, or auth.anonymous")
	}
}

// checkAnonymous looks at what is doubtful about what everybody may do.
func (a *authConfig) checkAnonymous(r *report) {
	const everywhere = ">"
	reads, writes := slices.Contains(a.Anonymous.Subscribe, everywhere), slices.Contains(a.Anonymous.Publish, everywhere)
	switch {
	case reads && writes:
		r.doubtful("auth.anonymous.publish", "everybody may publish and read everywhere, as if the gateway were open, with and without a token: name the channels that are meant")
	case writes:
		r.doubtful("auth.anonymous.publish", "everybody may publish everywhere, with and without a token: name the channels that are meant")
	case reads:
		r.doubtful("auth.anonymous.subscribe", "everybody may read every channel, so that what a token may subscribe to means nothing: name the channels that are meant")
	}
}

// checkTokens looks at what is doubtful about settings for tokens.
func (c *config) checkTokens(r *report) {
	a := &c.Auth
	const month = 30 * 24 * time.Hour
	if a.MaxLifetime > month {
		r.doubtful("auth.max_lifetime", "a stolen token is good for as long: clients refresh theirs while they are attached, so an hour will do")
	}
	if strings.HasPrefix(r.origin("auth.secret"), "--") {
		r.doubtful("auth.secret", "everybody on this machine can see it in the list of processes: put it in FAIRLEAD_AUTH_SECRET, or in auth.secret_file")
	}
	if a.Secret != "" && distinctBytes(string(a.Secret)) < fewBytes {
		r.doubtful("auth.secret", guessable)
	}
}

// A secret of fewer different bytes than this was hardly made by chance.
const (
	fewBytes  = 10
	guessable = "it looks as if it could be guessed: make one with openssl rand -base64 32"
)

// distinctBytes is how many different bytes there are in s.
func distinctBytes(s string) int {
	seen := map[byte]bool{}
	for i := range len(s) {
		seen[s[i]] = true
	}
	return len(seen)
}

func (c *config) checkOrigins(r *report) {
	if slices.Contains(c.Origins, "*") {
		switch {
		case c.open():
			r.doubtful("origins", "the gateway is open, so whatever page somebody looks at may do everything: name the origins of the application")
		default:
			r.doubtful("origins", "any page may use a token that it has got hold of: name the origins of the application, unless everybody is meant to embed it")
		}
		if len(c.Origins) > 1 {
			r.doubtful("origins", "* covers the others, and makes cookies count from none of them: leave out what is not meant")
		}
	}
	for _, origin := range c.Origins {
		if isPlainOrigin(origin) && !c.open() {
			r.doubtful("origins", "whoever is on the way can change a page of %s, and take its tokens; and so cookies count from no listed origin: serve it by https", origin)
		}
	}
}

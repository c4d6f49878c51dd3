package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
)

// banner is where the gateway listens, where the log is, who may come in, and
// what to try, as far as that works with these settings: the keys are those of
// the files that they name. Its first line is for programs as well.
func (c *config) banner(addr net.Addr, keys []auth.Key, sources *sources) string {
	url := c.url(addr)
	var text strings.Builder
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&text, format+"\n", args...) }
	say("fairlead listening on %s", url)
	say("the log is kept in %s", c.place())
	say("%s", c.whoMay())
	say("")
	a := &c.Auth
	closed := a.hasKeys() || a.APIKeys != "" && !a.hasAnonymous()
	as, read, written := "", "chat.42", "chat.42"
	switch token := c.tokenCommand(keys, sources); {
	case closed && token != "":
		say("Try:")
		say("  %s", token)
	case closed:
		say("Try, with a token or an API key in $TOKEN that may use chat.42:")
	default:
		say("Try:")
	}
	switch {
	case closed:
		as = ` -H "Authorization: Bearer $TOKEN"`
		say("  open %s/ # the demo, in a browser: it asks for the token; that has to grant demo.*", url)
	case a.hasAnonymous():
		read, written = exampleOf(a.Anonymous.Subscribe), exampleOf(a.Anonymous.Publish)
	default:
		say("  open %s/ # the demo, in a browser", url)
	}
	if read != "" {
		say("  curl -N%s -H 'Accept: text/event-stream' '%s/v1/attach?channel=%s'", as, url, read)
	}
	if written != "" {
		say(`  curl%s -H 'Content-Type: application/json' -d '{"data":"hello"}' %s/v1/channels/%s/messages`, as, url, written)
	}
	return text.String()
}

// whoMay says who may do what.
func (c *config) whoMay() string {
	who := "it is open: whoever reaches it may do everything"
	if !c.open() {
		who = "whoever shows a token or an API key may do what that grants"
	}
	if c.Auth.hasAnonymous() {
		who += "; everybody else, what auth.anonymous does"
	}
	return who
}

// exampleOf is a channel that the first of the patterns matches; "" if there is none.
func exampleOf(patterns list) string {
	if len(patterns) == 0 {
		return ""
	}
	tokens := strings.Split(patterns[0], ".")
	for i, token := range tokens {
		if token == "*" || token == ">" {
			tokens[i] = "42"
		}
	}
	return strings.Join(tokens, ".")
}

// tokenCommand is what to type into a shell for a token of this gateway, in the
// same directory; "" if it has no key that can make one.
func (c *config) tokenCommand(keys []auth.Key, sources *sources) string {
	if !canMint(keys) {
		return ""
	}
	words := []string{"fairlead token"}
	add := func(flag, value string) { words = append(words, "--"+flag+" "+quoted(value)) }
	if sources.path != "" {
		add("config", sources.path)
	}
	for _, setting := range []struct{ key, flag, value string }{
		{"auth.secret_file", "auth-secret-file", c.Auth.SecretFile},
		{"auth.keys", "auth-keys", strings.Join(c.Auth.Keys, ",")},
		{"auth.issuer", "auth-issuer", c.Auth.Issuer},
		{"auth.audience", "auth-audience", strings.Join(c.Auth.Audience, ",")},
	} {
		if _, inFile := sources.file[setting.key]; setting.value != "" && !(inFile && sources.originOf(setting.key) == sources.file[setting.key].origin) {
			add(setting.flag, setting.value)
		}
	}
	if c.Auth.MaxLifetime < time.Hour {
		add("ttl", formatDuration(c.Auth.MaxLifetime))
	}
	add("subscribe", "chat.*,demo.*")
	add("publish", "chat.*,demo.*")
	command := "TOKEN=$(" + strings.Join(words, " ") + ")"
	switch origin := sources.originOf("auth.secret"); {
	case c.Auth.Secret == "" || origin == sources.file["auth.secret"].origin:
	case strings.HasPrefix(origin, "--"):
		command += " # where FAIRLEAD_AUTH_SECRET is the secret of " + origin
	default:
		command += " # where " + origin + " is set as it is for this gateway"
	}
	return command
}

// canMint tells whether a token can be made with one of the keys.
func canMint(keys []auth.Key) bool {
	for _, key := range keys {
		if _, err := auth.NewMinter(key, "", ""); err == nil {
			return true
		}
	}
	return false
}

// quoted is the text as one word of a POSIX shell.
func quoted(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+=", r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

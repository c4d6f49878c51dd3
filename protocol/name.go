package protocol

import "strings"

// CheckChannel reports why name is not a channel name (PROTOCOL.md 1.1), or nil.
func CheckChannel(name string) error {
	return checkName(name, "channel", false)
}

// CheckPattern reports why name is not a pattern, or nil. A channel name is a pattern.
func CheckPattern(name string) error {
	return checkName(name, "pattern", true)
}

// IsPattern tells whether a valid pattern has wildcards, so that it is no channel name.
func IsPattern(pattern string) bool {
	// Neither character may be part of a longer token.
	return strings.ContainsAny(pattern, "*>")
}

func checkName(name, kind string, wildcards bool) error {
	if name == "" {
		return Errorf(BadRequest, "the %s is empty: name one, such as chat.42", kind)
	}
	if len(name) > MaxNameBytes {
		return Errorf(BadRequest, "the %s %q… has %d bytes: at most %d are allowed", kind, printable(name[:20]), len(name), MaxNameBytes)
	}
	tokens := 0
	for rest, more := name, true; more; tokens++ {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "":
			return Errorf(BadRequest, "the %s %q has an empty token: write one dot between tokens and none at the ends", kind, printable(name))
		case token == "*" || token == ">":
			if !wildcards {
				return Errorf(BadRequest, "%q is a pattern: a %s without wildcards is needed here", printable(name), kind)
			}
			if token == ">" && more {
				return Errorf(BadRequest, "the %s %q has > before its end: it may only be the last token", kind, printable(name))
			}
		case !isToken(token):
			return Errorf(BadRequest, "the %s %q has a token with other characters than A-Z a-z 0-9 _ : @ = + ~ -", kind, printable(name))
		}
	}
	if tokens > MaxNameTokens {
		return Errorf(BadRequest, "the %s %q has %d tokens: at most %d are allowed", kind, printable(name), tokens, MaxNameTokens)
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

var (
	tokenByte   = byteSet("_:@=+~-")
	typeByte    = byteSet("_.:/-")
	sessionByte = byteSet("_-")
)

// byteSet is the set of ASCII letters, digits and the others.
func byteSet(others string) (set [256]bool) {
	for c := range byte(128) {
		set[c] = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte(others, c) >= 0
	}
	return set
}

// CheckType reports why s may not be a message's type, or nil. The empty type is allowed.
func CheckType(s string) error {
	return checkBytes(s, "type", MaxTypeBytes, &typeByte, "A-Z a-z 0-9 _ . : / -")
}

// CheckSession reports why s may not be a session's id, or nil. The empty one is allowed.
func CheckSession(s string) error {
	return checkBytes(s, "session", MaxSession, &sessionByte, "A-Z a-z 0-9 _ -")
}

func checkBytes(s, what string, limit int, set *[256]bool, allowed string) error {
	if len(s) > limit {
		return Errorf(BadRequest, "the %s has %d bytes: at most %d are allowed", what, len(s), limit)
	}
	for i := range len(s) {
		if !set[s[i]] {
			return Errorf(BadRequest, "the %s %q has other characters than %s", what, printable(s), allowed)
		}
	}
	return nil
}

// CheckKey reports why s may not be an idempotency key, or nil. The empty key is allowed: none.
func CheckKey(s string) error {
	if len(s) > MaxKeyBytes {
		return Errorf(BadRequest, "the key has %d bytes: at most %d are allowed", len(s), MaxKeyBytes)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return Errorf(BadRequest, "the key %q has other characters than printable ASCII without spaces", printable(s))
		}
	}
	return nil
}

// maxQuoted is how many bytes of what a client sent an error message repeats.
const maxQuoted = 40

// printable cuts what a client sent down to what an error message may repeat.
func printable(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 2*maxQuoted)], "\uFFFD")
	if len(s) > maxQuoted {
		return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return s
}

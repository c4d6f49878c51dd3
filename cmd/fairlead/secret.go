package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// minSecretBytes is the least that a secret has (RFC 7518, section 3.2).
const minSecretBytes = 32

// hidden stands where a secret is not shown. It is shorter than any secret may
// be, so that a printed configuration is refused until the secret is put in.
const hidden = "***"

// A secret is a text that is never shown: every way to print it shows hidden.
type secret string

// String implements fmt.Stringer.
func (s secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format implements fmt.Formatter, for every verb.
func (s secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, for slog, JSON and YAML.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// parseSecret takes a secret as it is, or none. Its error is what is allowed.
func parseSecret(text string) (secret, error) {
	if n := len(text); n > 0 && n < minSecretBytes {
		return "", fmt.Errorf("at least %d bytes of text, such as from openssl rand -base64 32: it has %d", minSecretBytes, n)
	}
	return secret(text), nil
}

// shownURLs is text, URLs with commas between them, without what only those who
// are meant may know: users, passwords, queries. What is no URL is not shown at all.
func shownURLs(text string) string {
	if text == "" {
		return ""
	}
	parts := strings.Split(text, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" {
			return hidden
		}
		if u.User != nil {
			u.User = url.User("xxxxx")
		}
		if u.RawQuery != "" {
			u.RawQuery = "xxxxx"
		}
		u.Fragment = ""
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}

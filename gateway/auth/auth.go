// Package auth says who a client is and what it may do. It reads tokens, API
// keys and tickets, and knows nothing of requests and sessions.
//
// JWTs are read by go-jose: it has JWS, JWT and JWK in one module without
// dependencies, cannot be called without a list of algorithms, and refuses JSON
// with a member twice. The key sets of the other libraries have no back-off and
// no single flight, or bring nine modules with them, so that part is in jwks.go.
package auth

import (
	"errors"
	"strings"

	"github.com/fairlead/fairlead/protocol"
)

// errNoToken is the cause of the error for a client that showed nothing.
var errNoToken = errors.New("no token")

// refuse is the error for a credential that is no good. What it says is for
// whoever made the credential; it never holds the credential, or a part of it.
func refuse(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.Unauthorized, format, args...)
}

// Challenge is the WWW-Authenticate header for an answer with err (RFC 6750,
// section 3), or "" if the answer has none.
func Challenge(err *protocol.Error) string {
	const realm = `Bearer realm="fairlead"`
	switch {
	case errors.Is(err, errNoToken):
		return realm // section 3.1: no error code for who did not try
	case err.Code == protocol.Unauthorized, err.Code == protocol.Expired:
		return realm + `, error="invalid_token", error_description="` + describable(err.Message) + `"`
	case err.Code == protocol.Forbidden:
		return realm + `, error="insufficient_scope"` // a description could hold what the request did
	default:
		return ""
	}
}

// describable is s in the characters that an error_description may have.
func describable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		default:
			return r
		}
	}, s)
}

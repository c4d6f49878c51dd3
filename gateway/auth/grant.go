package auth

import (
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/fairlead/fairlead/protocol"
)

// MaxPatterns is how many patterns a list of Rights may have.
const MaxPatterns = 100

// Rights are the patterns of the channels that somebody may use. It is the claim
// "fairlead" of a token, and what the configuration gives to an API key.
type Rights struct {
	Subscribe []string `json:"subscribe,omitempty"` // also: read history
	Publish   []string `json:"publish,omitempty"`
	Presence  []string `json:"presence,omitempty"`
}

// Everything is the right to do everything.
func Everything() Rights {
	all := []string{">"}
	return Rights{Subscribe: all, Publish: all, Presence: all}
}

// Bytes is how much text the lists hold.
func (r Rights) Bytes() (n int) {
	for _, list := range [][]string{r.Subscribe, r.Publish, r.Presence} {
		for _, pattern := range list {
			n += len(pattern)
		}
	}
	return n
}

// Check reports which list is too long or holds what is no pattern, or nil.
func (r Rights) Check() error {
	for _, list := range []struct {
		name     string
		patterns []string
	}{{"subscribe", r.Subscribe}, {"publish", r.Publish}, {"presence", r.Presence}} {
		if err := checkPatterns(list.name, list.patterns); err != nil {
			return err
		}
	}
	return nil
}

func checkPatterns(name string, patterns []string) error {
	if len(patterns) > MaxPatterns {
		return protocol.Errorf(protocol.BadRequest, "%s has %d patterns: at most %d are allowed, and wildcards make few of many", name, len(patterns), MaxPatterns)
	}
	for _, pattern := range patterns {
		if err := protocol.CheckPattern(pattern); err != nil {
			return protocol.Errorf(protocol.BadRequest, "%s: %s", name, protocol.ErrorFrom(err).Message)
		}
	}
	return nil
}

// A Source is what a grant was got with.
type Source string

// The sources of grants.
const (
	FromToken  Source = "token"
	FromAPIKey Source = "api_key"
	FromNobody Source = "anonymous" // the grant of who shows nothing
	FromNoKeys Source = "open"      // there is nothing to check anybody by
)

// A Grant is who somebody is and what they may do. It is never changed once it
// is made, so that many may use it. A nil Grant allows nothing.
type Grant struct {
	Rights
	Source  Source    `json:"source"`
	Manage  []string  `json:"manage,omitempty"`   // an API key's: what may be purged
	Subject string    `json:"sub,omitempty"`      // who: goes out as a message's `from`. Empty: nobody in particular
	TokenID string    `json:"jti,omitempty"`      // the token's, if it has one
	APIKey  string    `json:"api_key,omitempty"`  // the name of the API key that it is from, if it is from one
	KeyMark string    `json:"key_mark,omitempty"` // tells that key from another of the name: a hash of its hash
	Issued  time.Time `json:"issued,omitzero"`    // zero: not known
	Expires time.Time `json:"expires,omitzero"`   // from then on it is refused: the token's exp, and the clock skew. Zero: never
}

// Holder is the grant without what it grants.
func (g *Grant) Holder() Grant {
	return Grant{Source: g.Source, Subject: g.Subject, APIKey: g.APIKey}
}

// SameHolder tells whether both are of the same user, or the same API key, or of
// nobody in particular in the same way.
func (g *Grant) SameHolder(other *Grant) bool {
	return g.Source == other.Source && g.Subject == other.Subject && g.APIKey == other.APIKey
}

// Open is the grant of a server that has no keys: everything, for everybody.
func Open() *Grant { return open }

var open = &Grant{Rights: Everything(), Manage: []string{">"}, Source: FromNoKeys}

// MaySubscribe tells whether every channel that pattern can match is granted.
func (g *Grant) MaySubscribe(pattern string) bool {
	return g != nil && covers(g.Subscribe, pattern)
}

// MayPublish tells whether channel is granted.
func (g *Grant) MayPublish(channel string) bool {
	return g != nil && covers(g.Publish, channel)
}

// MaySeePresence tells whether presence on every channel that pattern can match is granted.
func (g *Grant) MaySeePresence(pattern string) bool {
	return g != nil && covers(g.Presence, pattern)
}

// MayManage tells whether every channel that pattern can match may be purged.
func (g *Grant) MayManage(pattern string) bool {
	return g != nil && covers(g.Manage, pattern)
}

// Check reports that the grant has expired, or nil. It is for every use of a
// grant that is kept.
func (g *Grant) Check(now time.Time) error {
	if !g.Expires.IsZero() && !now.Before(g.Expires) {
		return protocol.Errorf(protocol.Expired, "the token expired at %s: get a new one", g.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// covers tells whether each channel that pattern can match is matched by one of granted.
func covers(granted []string, pattern string) bool {
	if anyCovers(granted, pattern) {
		return true
	}
	stars, tail := strings.CutSuffix(pattern, ">")
	if !tail {
		return false
	}
	// `a.*` and `a.*.>` are together all of `a.>`: look at each number of tokens.
	stars += "*"
	for range protocol.MaxNameTokens - strings.Count(pattern, ".") {
		if !anyCovers(granted, stars) {
			return false
		}
		stars += ".*"
	}
	return true
}

func anyCovers(granted []string, pattern string) bool {
	for _, g := range granted {
		if server.SubjectMatchesFilter(pattern, g) {
			return true
		}
	}
	return false
}

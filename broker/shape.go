package broker

import "strings"

// ownShapes is of how many shapes the patterns with one literal prefix, which is
// the tokens before the first wildcard, have windows of their own at a time.
// A channel has at most 16 such prefixes, and of each shape at most one pattern
// matches it: so a message goes to a bounded number of windows, whatever is followed.
const ownShapes = 16

// maxShapes is how many shapes the patterns of one reader have. What it costs to
// find out which of them match a channel grows with that, and not with their number.
const maxShapes = 64

// A shape is where a pattern has its wildcards.
type shape struct {
	tokens int
	stars  uint32 // bit i: token i is *
	tail   bool   // the last token is >
}

// shapeOf is the shape of a pattern, and its literal prefix with a dot at the
// end, or "" if it begins with a wildcard.
func shapeOf(pattern string) (prefix string, s shape) {
	at := 0
	literal := true
	for token := range strings.SplitSeq(pattern, ".") {
		wild := token == "*" || token == ">"
		if wild && literal {
			prefix, literal = pattern[:at], false
		}
		if token == "*" {
			s.stars |= 1 << s.tokens
		}
		s.tail = token == ">"
		s.tokens++
		at += len(token) + 1
	}
	return prefix, s
}

// common is the pattern of everything below a literal prefix.
func common(prefix string) string { return prefix + ">" }

package main

import "strings"

// A list is texts without commas in them.
type list []string

// parseList parses texts with commas between them, or none.
func parseList(s string) (l list) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			l = append(l, part)
		}
	}
	return l
}

// String is the list as parseList reads it.
func (l list) String() string { return strings.Join(l, ", ") }

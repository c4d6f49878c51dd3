package gateway

import (
	"iter"
	"net/netip"
	"strings"
)

// forwardedNodes are the addresses in the for parameters of Forwarded (RFC
// 7239, section 4), in their order. What names no address is "unknown": it
// must not be left out, or who comes before it would be believed.
func forwardedNodes(lines []string) (nodes []string) {
	for _, line := range lines {
		for element := range quotedParts(line, ',') {
			if strings.TrimSpace(element) == "" {
				continue
			}
			node := "unknown"
			for pair := range quotedParts(element, ';') {
				name, value, _ := strings.Cut(pair, "=")
				value = strings.TrimSpace(value)
				if !isWhole(value) { // a quote that a client left open, for a proxy to close
					node = "unknown"
					break
				}
				if strings.EqualFold(strings.TrimSpace(name), "for") {
					node = nodeAddress(value)
				}
			}
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// quotedParts are the parts of s between separators that are not in a quoted string.
func quotedParts(s string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == separator && !quoted:
				if !yield(s[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(s[begin:])
	}
}

// isWhole tells whether a value has no quotes, or is one quoted string (RFC 9110, section 5.6.4).
func isWhole(value string) bool {
	inner, quoted := strings.CutPrefix(value, `"`)
	if !quoted {
		return !strings.Contains(value, `"`)
	}
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '\\':
			i++
		case '"':
			return i == len(inner)-1
		}
	}
	return false
}

// nodeAddress is the address of a node (RFC 7239, section 6), with or without a port, or "unknown".
func nodeAddress(node string) string {
	if n := len(node); n >= 2 && node[0] == '"' && node[n-1] == '"' {
		node = node[1 : n-1]
	}
	if inner, ok := strings.CutPrefix(node, "["); ok {
		node, _, _ = strings.Cut(inner, "]")
	} else if host, _, ok := strings.Cut(node, ":"); ok && strings.Count(node, ":") == 1 {
		node = host
	}
	if _, err := netip.ParseAddr(node); err != nil {
		return "unknown"
	}
	return node
}

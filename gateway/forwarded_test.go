package gateway

import (
	"net/netip"
	"testing"
)

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{`for=192.0.2.7`, `for="[2001:db8::1]:80";by=x, for=_a`, `for="a\",`, `;,;=,"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, node := range forwardedNodes([]string{line, "for=192.0.2.7"}) {
			if node == "unknown" {
				continue
			}
			if _, err := netip.ParseAddr(node); err != nil {
				t.Errorf("%q holds the node %q", line, node)
			}
		}
		// What a proxy adds on a line of its own is always the last word.
		if nodes := forwardedNodes([]string{line, "for=192.0.2.7"}); nodes[len(nodes)-1] != "192.0.2.7" {
			t.Errorf("%q: got %q", line, nodes)
		}
	})
}

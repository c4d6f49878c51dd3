package main

import "testing"

func TestTrustedProxiesMayBeAListOrSeveralFlags(t *testing.T) {
	const want = "10.0.0.0/8, 192.0.2.7/32, 2001:db8::/32"
	for name, args := range map[string][]string{
		"flags":    {"--trusted-proxy=10.1.2.3/8", "--trusted-proxy", "192.0.2.7", "--trusted-proxy=2001:db8::1/32"},
		"one flag": {"--trusted-proxy=10.0.0.0/8,192.0.2.7, 2001:db8::/32"},
		"a list":   {"--config", writeFile(t, "trusted_proxy: [10.0.0.0/8, 192.0.2.7, '2001:db8::/32']")},
		"lines":    {"--config", writeFile(t, "trusted_proxy:\n  - 10.0.0.0/8\n  - 192.0.2.7\n  - 2001:db8::/32\n")},
		"a text":   {"--config", writeFile(t, "trusted_proxy: 10.0.0.0/8, 192.0.2.7, 2001:db8::/32")},
	} {
		if got := settings(t, nil, args...)["trusted_proxy"]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := settings(t, nil, "--config", writeFile(t, "trusted_proxy: 10.0.0.1"), "--trusted-proxy=10.0.0.2")["trusted_proxy"]; got != "10.0.0.2/32" {
		t.Errorf("the flag does not replace the file's: %q", got)
	}
}

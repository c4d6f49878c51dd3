package main

import (
	"strings"
	"testing"
)

// What the gateway would not start with is found before it does.
func TestWhatIsNoOriginIsNoSetting(t *testing.T) {
	for _, origin := range []string{"app.example.com", "https://app.example.com/", "https://App.example.com", "https://bücher.example", "null"} {
		got := runProgram(t, nil, "check-config", "--data", t.TempDir(), "--auth-anonymous-subscribe=a", "--origins="+origin)
		if got.code == 0 || !strings.Contains(got.out, "it must be origins as browsers write them, such as https://app.example.com") {
			t.Errorf("%q: exit %d: %s", origin, got.code, got.out)
		}
	}
	for _, origin := range []string{"*", "https://app.example.com", "https://*.example.com", "http://localhost:3000"} {
		if err := forms["origin"](origin); err != nil {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

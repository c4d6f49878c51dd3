package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestEachMeasurementRuns runs each with tiny numbers: they must not rot.
func TestEachMeasurementRuns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	program := filepath.Join(t.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/fairlead").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for args, want := range map[string]string{
		"idle --transport sse -n 20 --settle 1ms":                "goroutines each",
		"idle --transport websocket -n 20 --settle 1ms":          "goroutines each",
		"publish --clients 4 --seconds 0.1":                      "acknowledged/s",
		"latency --rate 50 --seconds 0.1":                        "p99",
		"latency --transport sse --rate 50 --seconds 0.1":        "p99",
		"fanout --transport sse --clients 20 --messages 5":       "deliveries/s",
		"fanout --transport websocket --clients 20 --messages 5": "deliveries/s",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := run(t.Context(), append(strings.Fields(args), "--program", program), &out); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), want) {
				t.Errorf("printed %q, which lacks %q", &out, want)
			}
		})
	}
}

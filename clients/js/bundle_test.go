package js

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build runs the go:generate line of bundle.go with another outfile.
func build(t *testing.T) []byte {
	t.Helper()
	source, err := os.ReadFile("bundle.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(source), "//go:generate ")
	line, _, _ = strings.Cut(line, "\n")
	command, _, found := strings.Cut(line, "--outfile=")
	if !found {
		t.Fatalf("bundle.go: no --outfile in %q", line)
	}
	out := filepath.Join(t.TempDir(), "client.js")
	args := append(strings.Fields(command), "--outfile="+out)
	if text, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, text)
	}
	bundle, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func TestBundleIsWhatTheSourceSays(t *testing.T) {
	if !bytes.Equal(build(t), Bundle) {
		t.Error("bundle/client.js is not what src says: run go generate ./clients/js, and commit what it writes")
	}
}

func TestBundleIsSmall(t *testing.T) {
	const most = 18_125 // 17.7 KiB
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(Bundle); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d with gzip", len(Bundle), packed.Len())
	if packed.Len() > most {
		t.Errorf("the client takes %d bytes with gzip, want at most %d", packed.Len(), most)
	}
}

func TestBundleNamesNoHostAndImportsNothing(t *testing.T) {
	for _, word := range []string{"import ", "import(", "require(", "https://"} {
		if bytes.Contains(Bundle, []byte(word)) {
			t.Errorf("the bundle contains %q", word)
		}
	}
	if !bytes.Contains(Bundle, []byte("as connect")) {
		t.Error("the bundle does not export connect")
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheExamplesOfSecurityInREADMEWork pastes them into a shell, with another port.
func TestTheExamplesOfSecurityInREADMEWork(t *testing.T) {
	for _, needed := range []string{"bash", "curl", "openssl"} {
		_, err := exec.LookPath(needed)
		if err != nil && os.Getenv("FULL_TESTS") != "" {
			t.Fatal(err)
		}
		if err != nil {
			t.Skip(err)
		}
	}
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Security\n")
	_, section, _ = strings.Cut(section, "\n```sh\ngo build ./cmd/fairlead && PATH=$PWD:$PATH\n")
	examples, _, found := strings.Cut(section, "\n```\n")
	if !found {
		t.Fatal("there are none")
	}
	port := freePorts(t, 1)[0]
	shell := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(examples, ":8080", port))
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "FAIRLEAD_LISTEN=127.0.0.1"+port, "FAIRLEAD_DRAIN=10ms")
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("got %v", err)
	}
	rest := string(out)
	for _, want := range []string{`{"id":`, `"from":"ada"`, " 401 ", " 403 ", `{"id":`, "\nfairlead_", `{"before":`} { // in that order
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("no %q after what came before it, in\n%s", want, out)
		}
		rest = after
	}
}

package fairlead_test

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// What the Dockerfile says is carried out here, but for the addresses and the directory: its build, its command and its
// health check.
func TestTheImagesBinaryIsStaticServesAndPassesItsHealthCheck(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "fairlead")
	dockerfile := read(t, "Dockerfile")

	build := find(t, dockerfile, `(?m)^RUN (CGO_ENABLED=0) (go build .*) && mkdir /data$`)
	args := fields(strings.ReplaceAll(build[2], "/fairlead ./cmd", binary+" ./cmd"))
	compile := exec.CommandContext(t.Context(), args[0], args[1:]...)
	compile.Env = append(compile.Environ(), build[1])
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	if runtime.GOOS == "linux" {
		if libraries := dynamic(t, binary); len(libraries) > 0 {
			t.Errorf("the binary needs %v, and the image has no libraries", libraries)
		}
	}

	command := find(t, dockerfile, `(?m)^CMD (\[.*\])$`)[1]
	open := exec.CommandContext(t.Context(), binary, list(t, strings.ReplaceAll(command, "/data", filepath.Join(dir, "data")))...)
	if out, err := open.CombinedOutput(); open.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "FAIRLEAD_AUTH_SECRET") {
		t.Fatalf("without keys, on every address: got %v: %s", err, out)
	}
	serve := exec.CommandContext(t.Context(), binary, list(t, strings.NewReplacer("0.0.0.0:8080", "127.0.0.1:0", "/data", filepath.Join(dir, "data")).Replace(command))...)
	serve.Env = []string{"FAIRLEAD_AUTH_SECRET=" + strings.Repeat("0123456789", 4)}
	stdout, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("serve said nothing: %v", err)
	}
	url := find(t, line, `^fairlead listening on (http://127\.0\.0\.1:\d+)\n$`)[1]

	health := list(t, find(t, dockerfile, `(?m)^HEALTHCHECK .* CMD (\[.*\])$`)[1])
	check := func() ([]byte, error) {
		c := exec.CommandContext(t.Context(), binary, health[1:]...)
		c.Env = []string{"FAIRLEAD_URL=" + url}
		return c.CombinedOutput()
	}
	if out, err := check(); err != nil {
		t.Errorf("healthy gateway: %q: %v\n%s", health, err, out)
	}
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := check(); err == nil {
		t.Error("the health check passes when nothing runs")
	}
}

func find(t *testing.T, text, pattern string) []string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("nothing matches %s", pattern)
	}
	return found
}

func list(t *testing.T, text string) (items []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &items); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return items
}

// fields splits a command line whose only quotes are double and stand round whole words.
func fields(command string) (words []string) {
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(command, -1) {
		words = append(words, strings.Trim(word, `"`))
	}
	return words
}

func dynamic(t *testing.T, binary string) []string {
	t.Helper()
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	return libraries
}

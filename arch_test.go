package fairlead_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead/fairlead"

// arrows are the imports that the packages may have of each other. A new arrow
// is a decision: make it here, and in ARCHITECTURE.md.
var arrows = map[string][]string{
	"":                     {},
	"protocol":             {},
	"broker":               {"protocol"},
	"gateway/page":         {},
	"gateway/admission":    {"protocol"},
	"gateway/auth":         {"protocol"},
	"gateway/demo":         {"gateway/page"},
	"clients/js":           {},
	"clients/doctor":       {"protocol"},
	"clients/doctor/probe": {"clients/doctor", "protocol"},
	"gateway":              {"broker", "protocol", "gateway/admission", "gateway/auth", "gateway/page", "gateway/demo", "clients/doctor", "clients/js"},
	"clients/go":           {"protocol"},
	"cmd/fairlead":         {"broker", "gateway", "gateway/auth", "cmd/fairlead/entrance", "clients/go", "clients/doctor", "clients/doctor/probe", "protocol"},
	"bench":                {"clients/go", "protocol"},

	"cmd/fairlead/entrance":          {},
	"cmd/fairlead/entrance/certtest": {}, // for tests
	"broker/brokertest":              {}, // for tests
}

// plain are the packages that need nothing but the standard library, and what is ours.
var plain = []string{"protocol", "gateway/admission"}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, known := arrows[name]
		if !known {
			t.Errorf("the package %q has no place in the arrows: give it one, or put its code where it belongs", name)
			continue
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s: this arrow is not drawn", name, other)
			}
			if slices.Contains(plain, name) && !ours && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
				t.Errorf("%s imports %s: of what is not ours it may import the standard library only", name, imported)
			}
		}
	}
}

func TestNoPackageIsADrawer(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc"}, p.Name) {
			t.Errorf("%s is called %s: name it after what it is", p.ImportPath, p.Name)
		}
	}
}

type pkg struct {
	ImportPath, Name string
	Imports          []string
}

func packages(t *testing.T) (all []pkg) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

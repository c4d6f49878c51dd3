package demo

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// How they are served is tested in gateway/page.
func TestServesThePageAndItsFiles(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html", "/index.html": "text/html", "/style.css": "text/css", "/icon.svg": "image/svg+xml",
		"/demo.js": "javascript", "/network.js": "javascript", "/ledger.js": "javascript",
	} {
		w := httptest.NewRecorder()
		Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.Contains(got, kind) {
			t.Errorf("%s: got %d %s, want 200 %s", path, w.Code, got, kind)
		}
	}
}

// The policy forbids inline scripts and styles and other origins; the page must get on without them, and stay small.
func TestThePageKeepsToItsPolicyAndIsSmall(t *testing.T) {
	page, err := static.ReadFile("static/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`<style|<script[^>]*>[^<]| style=| on\w+=|https?://|//[a-z]`).Find(page); found != nil {
		t.Errorf("index.html has %q", found)
	}
	size := 0
	err = fs.WalkDir(static, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		size += int(info.Size())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 32<<10 {
		t.Errorf("the page has %d bytes, want at most 32 KiB", size)
	}
	t.Logf("%d bytes", size)
}

// What others say must never become markup.
func TestTheScriptsWriteTextOnly(t *testing.T) {
	for _, name := range []string{"demo.js", "network.js", "ledger.js"} {
		script, err := static.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function`).Find(script); found != nil {
			t.Errorf("%s uses %s", name, found)
		}
	}
}

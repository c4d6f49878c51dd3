package demo

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestServesThePageAndItsFiles(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html", "/index.html": "text/html", "/style.css": "text/css", "/icon.svg": "image/svg+xml",
		"/demo.js": "javascript", "/network.js": "javascript", "/ledger.js": "javascript",
	} {
		res := get(t, path)
		if res.StatusCode != http.StatusOK || !strings.Contains(res.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: got %d %s, want 200 %s", path, res.StatusCode, res.Header.Get("Content-Type"), kind)
		}
		if got := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") {
			t.Errorf("%s: got policy %q", path, got)
		}
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	etag := get(t, "/demo.js").Header.Get("ETag")
	if got := get(t, "/demo.js", "If-None-Match", etag).StatusCode; got != http.StatusNotModified {
		t.Errorf("got %d, want 304 for %s", got, etag)
	}
	if got := get(t, "/demo.js").Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control: got %q, want no-cache", got)
	}
}

func TestRefusesWhatItDoesNotServe(t *testing.T) {
	for _, path := range []string{"/nothing", "/static/", "/static/demo.js", "/../demo.go"} {
		res := get(t, path)
		var problem struct {
			Status int
			Code   string
		}
		if err := json.NewDecoder(res.Body).Decode(&problem); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if kind := res.Header.Get("Content-Type"); res.StatusCode != 404 || problem.Status != 404 || problem.Code != "not_found" || kind != "application/problem+json" {
			t.Errorf("%s: got %d %s %+v, want the problem not_found", path, res.StatusCode, kind, problem)
		}
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, Allow %q, want 405 and GET, HEAD", w.Code, w.Header().Get("Allow"))
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
	if size > 30<<10 {
		t.Errorf("the page has %d bytes, want at most 30 KiB", size)
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

package doctor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func request(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestServesThePageAndItsFiles(t *testing.T) {
	for path, kind := range map[string]string{
		"/doctor": "text/html", "/doctor/style.css": "text/css", "/doctor/icon.svg": "image/svg+xml", "/doctor/findings.json": "application/json",
		"/doctor/doctor.js": "javascript", "/doctor/probe.js": "javascript", "/doctor/judge.js": "javascript",
	} {
		res := request(t, http.MethodGet, path)
		h := res.Header
		if res.StatusCode != http.StatusOK || !strings.Contains(h.Get("Content-Type"), kind) {
			t.Errorf("%s: got %d %s, want 200 %s", path, res.StatusCode, h.Get("Content-Type"), kind)
		}
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'self';") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: got %v", path, h)
		}
		if got := request(t, http.MethodGet, path, "If-None-Match", h.Get("ETag")).StatusCode; got != http.StatusNotModified {
			t.Errorf("%s again: got %d, want 304", path, got)
		}
	}
}

func TestRefusesWhatItDoesNotServe(t *testing.T) {
	for path, want := range map[string]int{"/doctor/nothing": 404, "/doctor/../findings.json": 404, "/doctor/index.html": 404, "/doctor/": 308} {
		res := request(t, http.MethodGet, path)
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, res.StatusCode, want)
		}
		var problem struct{ Code string }
		if want == 404 && (json.NewDecoder(res.Body).Decode(&problem) != nil || problem.Code != "not_found") {
			t.Errorf("%s: got %+v, want the problem not_found", path, problem)
		}
	}
	if res := request(t, http.MethodPost, "/doctor"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d %v", res.StatusCode, res.Header)
	}
}

// The policy forbids inline scripts and styles and other origins. What others send must never become markup.
func TestThePageKeepsToItsPolicyAndIsSmall(t *testing.T) {
	size := len(table)
	for path, f := range load() {
		size += len(f.body)
		bad := `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function`
		if f.name == "index.html" {
			bad = `<style|<script[^>]*>[^<]| style=| on\w+=|https?://|//[a-z]`
		}
		if found := regexp.MustCompile(bad).Find(f.body); found != nil {
			t.Errorf("%s has %q", path, found)
		}
	}
	if size > 64<<10 {
		t.Errorf("the page has %d bytes, want at most 64 KiB", size)
	}
	t.Logf("%d bytes", size)
}

package page

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var files = fstest.MapFS{
	"static/index.html": {Data: []byte("<title>page</title>")},
	"static/page.js":    {Data: []byte("export {};")},
	"static/style.css":  {Data: []byte("b {}")},
	"static/icon.svg":   {Data: []byte("<svg/>")},
	"words.json":        {Data: []byte("{}")},
}

func request(t *testing.T, root, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler(root, files, "look elsewhere").ServeHTTP(w, r)
	return w.Result()
}

func TestServesThePageAndItsFiles(t *testing.T) {
	for _, root := range []string{"/", "/some"} {
		below := strings.TrimSuffix(root, "/")
		for path, want := range map[string]struct{ kind, from string }{
			root:                  {"text/html; charset=utf-8", "static/index.html"},
			below + "/page.js":    {"text/javascript; charset=utf-8", "static/page.js"},
			below + "/style.css":  {"text/css; charset=utf-8", "static/style.css"},
			below + "/icon.svg":   {"image/svg+xml", "static/icon.svg"},
			below + "/words.json": {"application/json", "words.json"},
		} {
			res := request(t, root, http.MethodGet, path)
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != want.kind || string(body) != string(files[want.from].Data) {
				t.Errorf("%s: got %d %s %q, want 200 %s and %s", path, res.StatusCode, got, body, want.kind, want.from)
			}
			for name, value := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache",
			} {
				if got := res.Header.Get(name); got != value {
					t.Errorf("%s: got %s %q, want %q", path, name, got, value)
				}
			}
		}
	}
}

func TestThePolicyIsOfThePagesOwnOrigin(t *testing.T) {
	if !strings.HasPrefix(policy, "default-src 'self';") {
		t.Errorf("got %s", policy)
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	for _, path := range []string{"/", "/page.js", "/style.css", "/icon.svg", "/words.json"} {
		etag := request(t, "/", http.MethodGet, path).Header.Get("ETag")
		if got := request(t, "/", http.MethodGet, path, "If-None-Match", etag).StatusCode; etag == "" || got != http.StatusNotModified {
			t.Errorf("%s again: got %d, want 304 for %s", path, got, etag)
		}
	}
	res := request(t, "/", http.MethodGet, "/page.js")
	etag := res.Header.Get("ETag")
	for header, want := range map[string]int{`"x", W/` + etag: 304, `"x",` + etag: 304, "*": 304, `"x"`: 200, etag[1:]: 200, "": 200} {
		if got := request(t, "/", http.MethodGet, "/page.js", "If-None-Match", header); got.StatusCode != want || got.Header.Get("ETag") != etag || got.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("If-None-Match: %s: got %d with %v, want %d", header, got.StatusCode, got.Header, want)
		}
	}
	if one, other := request(t, "/", http.MethodGet, "/page.js"), request(t, "/", http.MethodGet, "/style.css"); one.Header.Get("ETag") == other.Header.Get("ETag") {
		t.Errorf("two files have the ETag %s", one.Header.Get("ETag"))
	}
}

func TestHeadIsAnsweredWithoutTheFile(t *testing.T) {
	res := request(t, "/", http.MethodHead, "/page.js")
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || len(body) != 0 || res.Header.Get("ETag") == "" || res.Header.Get("Content-Length") != "10" {
		t.Errorf("got %d %q %v, want 200 with an ETag, a length and no body", res.StatusCode, body, err)
	}
}

func TestRefusesWhatItDoesNotServe(t *testing.T) {
	for root, paths := range map[string][]string{
		"/":     {"/nothing", "/static/", "/static/page.js", "/../words.json", "/page.js/", "/index.html/"},
		"/some": {"/", "/some/nothing", "/some/../words.json", "/some/index.html", "/some/static/page.js", "/some//", "/page.js"},
	} {
		for _, path := range paths {
			res := request(t, root, http.MethodGet, path)
			var problem struct {
				Status       int
				Code, Detail string
			}
			if err := json.NewDecoder(res.Body).Decode(&problem); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if res.StatusCode != 404 || problem.Status != 404 || problem.Code != "not_found" || problem.Detail != "look elsewhere" {
				t.Errorf("%s: got %d %+v, want the problem not_found", path, res.StatusCode, problem)
			}
			h := res.Header
			if h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: got %v", path, h)
			}
		}
		if res := request(t, root, http.MethodPost, root); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: got %d, Allow %q, want 405 and GET, HEAD", root, res.StatusCode, res.Header.Get("Allow"))
		}
	}
}

func TestASlashTooManyLeadsToThePage(t *testing.T) {
	if res := request(t, "/some", http.MethodGet, "/some/"); res.StatusCode != 308 || res.Header.Get("Location") != "../some" {
		t.Errorf("got %d to %q, want 308 to ../some", res.StatusCode, res.Header.Get("Location"))
	}
}

func TestTheOriginsRootIsIndexHTMLByNameToo(t *testing.T) {
	if got := request(t, "/", http.MethodGet, "/index.html").StatusCode; got != http.StatusOK {
		t.Errorf("got %d, want 200", got)
	}
}

func TestWhatCannotBeServedIsSaidAtOnce(t *testing.T) {
	for want, broken := range map[string]fstest.MapFS{
		"page: there is no index.html for /some": {"page.js": {}},
		"page: b/x.js: there is another x.js":    {"index.html": {}, "a/x.js": {}, "b/x.js": {}},
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got %v, want %s", got, want)
				}
			}()
			Handler("/some", broken, "")
		}()
	}
}

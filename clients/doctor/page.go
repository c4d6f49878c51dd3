package doctor

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// Scripts, styles and connections of the page's own origin only.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

type file struct {
	name, etag string
	body       []byte
}

// Handler serves the page at /doctor, and its files below that. It answers
// 404 for anything else, and 405 for anything but GET and HEAD. The page
// needs nothing but plain GETs.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[strings.TrimSuffix(r.URL.Path, "/")]
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		switch {
		case !ok:
			problem(w, http.StatusNotFound, "not_found", "there is nothing here: the page is at /doctor")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "this is a page: GET or HEAD it")
		case strings.HasSuffix(r.URL.Path, "/"):
			h.Set("Location", "../doctor") // the page's links are relative to that
			w.WriteHeader(http.StatusPermanentRedirect)
		default:
			h.Set("Content-Security-Policy", policy)
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache") // asked for each time; the ETag makes that cheap
			h.Set("ETag", f.etag)
			http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.body))
		}
	})
}

// problem answers as the rest of the gateway does: RFC 9457, PROTOCOL.md section 2.3.
func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A peer that has gone wants no answer.
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":%q,"code":%q}`, http.StatusText(status), status, detail, code)
}

// load reads the embedded files by their URL paths. It panics on what the build cannot have embedded.
func load() map[string]file {
	files := make(map[string]file)
	add := func(path, name string, body []byte) {
		sum := sha256.Sum256(body)
		files[path] = file{name: name, body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
	}
	entries, err := static.ReadDir("static")
	if err != nil {
		panic("doctor: " + err.Error())
	}
	for _, entry := range entries {
		body, err := static.ReadFile("static/" + entry.Name())
		if err != nil {
			panic("doctor: " + err.Error())
		}
		add("/doctor/"+entry.Name(), entry.Name(), body)
	}
	index := files["/doctor/index.html"]
	delete(files, "/doctor/index.html")
	files["/doctor"] = index
	add("/doctor/findings.json", "findings.json", table)
	return files
}

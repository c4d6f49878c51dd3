// Package demo is the page at the gateway's root: a room that two tabs can chat in, over a network that the visitor breaks.
package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"time"
)

//go:embed static
var static embed.FS

// Scripts, styles and connections of the page's own origin only: what others say in the room can never run.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

type file struct {
	name, etag string
	body       []byte
}

// Handler serves the page at "/" and its files beside it. It answers 404 for anything else, and 405 for anything but GET and HEAD.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			problem(w, http.StatusNotFound, "not_found", "there is nothing here: PROTOCOL.md lists what there is")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "this is a page: GET or HEAD it")
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		// The page and its client belong together: a browser asks each time, and the ETag makes that cheap.
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", f.etag)
		http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.body))
	})
}

// problem answers as the rest of the gateway does: RFC 9457, PROTOCOL.md section 2.3.
func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A peer that has gone wants no answer.
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":%q,"code":%q}`, http.StatusText(status), status, detail, code)
}

// load reads the embedded files by their URL paths. It panics on what the build cannot have embedded.
func load() map[string]file {
	files := make(map[string]file)
	entries, err := static.ReadDir("static")
	if err != nil {
		panic("demo: " + err.Error())
	}
	for _, entry := range entries {
		body, err := fs.ReadFile(static, "static/"+entry.Name())
		if err != nil {
			panic("demo: " + err.Error())
		}
		sum := sha256.Sum256(body)
		f := file{name: entry.Name(), body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		files["/"+f.name] = f
		if f.name == "index.html" {
			files["/"] = f
		}
	}
	return files
}

// Package page serves a page: files that are part of the program, to the browser, from this origin alone.
package page

import (
	"cmp"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// Scripts, styles and connections of the page's own origin only: what others send can never run.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

// Handler serves index.html at root, which is "/" or has no slash at its end,
// and the other files below it, each by its own name whatever its folder. A
// root that is not "/" is also where a slash too many leads to. Anything else
// is answered with 404 and missing, which says where to look instead; and
// anything but GET and HEAD with 405. Handler reads the files once, and panics
// on what a build cannot have embedded: files that cannot be read, two of one
// name, or no index.html.
func Handler(root string, files fs.FS, missing string) http.Handler {
	served := load(root, files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, slash := r.URL.Path, false
		if root != "/" {
			at, slash = strings.CutSuffix(at, "/")
		}
		f, ok := served[at]
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		switch {
		case !ok:
			problem(w, http.StatusNotFound, "not_found", missing)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "this is a page: GET or HEAD it")
		case slash:
			h.Set("Location", "../"+path.Base(root)) // the page's links are relative to that
			w.WriteHeader(http.StatusPermanentRedirect)
		default:
			h.Set("Content-Security-Policy", policy)
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")   // no page that opens it can reach in
			h.Set("Cross-Origin-Resource-Policy", "same-origin") // no page elsewhere can embed its parts
			f.ServeHTTP(w, r)
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

// load returns the files by their URL paths.
func load(root string, files fs.FS) map[string]*File {
	served := make(map[string]*File)
	err := fs.WalkDir(files, ".", func(from string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		at := path.Join(root, entry.Name())
		if _, twice := served[at]; twice {
			return fmt.Errorf("%s: there is another %s", from, entry.Name())
		}
		body, err := fs.ReadFile(files, from)
		served[at] = NewFile(cmp.Or(mime.TypeByExtension(path.Ext(at)), "application/octet-stream"), body)
		return err
	})
	if err != nil {
		panic("page: " + err.Error())
	}
	index, ok := served[path.Join(root, "index.html")]
	if !ok {
		panic("page: there is no index.html for " + root)
	}
	if root != "/" {
		delete(served, path.Join(root, "index.html")) // its links would lead nowhere from there
	}
	served[root] = index
	return served
}

package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// A File is served from memory, as a whole: http.ServeContent holds a buffer of
// 32 KiB for each client that does not take it.
type File struct {
	kind, etag string
	body       []byte
}

// NewFile is a file of that media type. The body is not to be changed.
func NewFile(kind string, body []byte) *File {
	sum := sha256.Sum256(body)
	return &File{kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body}
}

// ServeHTTP answers GET and HEAD; which of them it is, and that it is one, the caller sees to.
func (f *File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// Files belong together, and to this version: a browser asks each time, and the ETag makes that cheap.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	if f.isKept(r.Header) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.body) // a peer that has gone wants no answer
	}
}

// isKept tells whether who asks has the file already (RFC 9110, section 13.1.2).
func (f *File) isKept(asked http.Header) bool {
	for _, line := range asked["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") { // none of ours has a comma in it
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == f.etag { // a proxy that compresses makes it weak
				return true
			}
		}
	}
	return false
}

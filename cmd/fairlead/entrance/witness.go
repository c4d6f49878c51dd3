package entrance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// A witness hands requests to an ACME server on, and remembers the last thing
// that went wrong: autocert does not say why it could not renew a certificate.
type witness struct {
	next http.RoundTripper
	last atomic.Pointer[string]
}

// said is the last problem in the server's own words; "" if there was none.
func (w *witness) said() string {
	if last := w.last.Load(); last != nil {
		return *last
	}
	return ""
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(r)
	if err != nil {
		w.last.Store(new(err.Error()))
		return nil, err
	}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // an error comes again below
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(text), response.Body), response.Body}
		w.look(text, response.StatusCode)
	}
	return response, nil
}

// A problem is as RFC 8555 has it, in section 6.7.
type problem struct{ Type, Detail string }

// look remembers the problem of an answer, of an order or challenge, or of an authorization's challenges.
func (w *witness) look(text []byte, status int) {
	var answer struct {
		problem
		Error      problem
		Challenges []struct{ Error problem }
	}
	_ = json.Unmarshal(text, &answer)
	problems := []problem{answer.Error}
	if status >= http.StatusBadRequest {
		problems[0] = answer.problem
	}
	for _, challenge := range answer.Challenges {
		problems = append(problems, challenge.Error)
	}
	for _, p := range problems {
		if p != (problem{}) && !strings.HasSuffix(p.Type, ":badNonce") { // which is no failure: the request is sent again
			w.last.Store(new(p.Type + ": " + p.Detail))
		}
	}
}

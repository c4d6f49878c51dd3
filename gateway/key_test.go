package gateway

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/auth"
)

// Who shows nothing cannot use up the key of an origin, and so make its message a duplicate.
func TestOriginsKeysAreTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{}, func(a *auth.Options) { a.Anonymous = &chat })
		w.key = ""
		for _, path := range []string{"/v1/channels/chat.1/messages", "/v1/channels/chat.2/messages"} {
			body := `{"data":1,"key":"order-7"}`
			if path == "/v1/channels/chat.2/messages" {
				body = `[{"data":1,"key":"order-7"},{"data":2,"key":"order-8"}]`
			}
			r := request{method: "POST", path: path, headers: "Content-Type: application/json", body: body}
			for _, c := range []struct {
				who string
				r   request
			}{
				{"nobody", r},
				{"a token without a sub", w.as(w.token("", chat), r)},
				{"a user", w.as(w.token("ann", chat), r)},
				{"an origin", w.as(w.admin, r)},
			} {
				if a := w.call(c.r); a.status != 201 {
					t.Errorf("%s: %s has the key of another: got %d %s", path, c.who, a.status, a.body)
				}
				if a := w.call(c.r); a.status != 200 {
					t.Errorf("%s: %s again: got %d %s", path, c.who, a.status, a.body)
				}
			}
		}
	})
}

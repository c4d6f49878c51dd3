package gateway

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/auth"
)

// Of a path, or of a query, only what is written plainly, or percent-encoded once, is a channel's name.
func TestNoPathLeadsAroundAGrant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		healthy := w.healthy()
		defer healthy.hangUp()
		w.publish("secret", `"the secret"`)
		token := w.token("ann", auth.Rights{Subscribe: []string{"chat.*"}, Publish: []string{"chat.*"}})
		healthy.withstands(func() {
			for _, name := range []string{
				"secret", "%73ecret", "secret%00", "%00secret", "secret%20", "secret%0a", "secret.", ".secret", "./secret", "../secret", "%2e%2e/secret", "%2e%2e%2fsecret", "..%2fsecret", "..%5csecret", "%2fsecret", "//secret", "secret//",
				"chat.1/../secret", "chat.1%2f..%2fsecret", "chat.1/%2e%2e/secret", "chat.1/messages/../../secret", "chat.1%2fmessages%2f..%2f..%2fsecret", "chat.1;/../secret", "chat.1%23/../secret",
				"%c0%ae%c0%ae%c0%afsecret", "%e0%80%aesecret", "%f0%80%80%aesecret", "secret%c0%80", "%ef%bb%bfsecret", "%fesecret", "%252e%252e%252fsecret", "%25%37%33ecret", "%u0073ecret", "s%65cret%2emessages", "*", "%3e", "%2a", ">", "chat.%2e", "chat..", "chat.%00", "%ff%ff",
			} {
				for _, method := range []string{"GET", "POST", "DELETE", "PUT", "HEAD"} {
					for _, prefix := range []string{"/v1/channels/", "/v1/./channels/", "//v1/channels/", "/v1//channels/", "/V1/channels/", "http://fairlead/v1/channels/", "/doctor/../v1/channels/", "/v1/attach/../channels/"} {
						w.wantNoSecret(t, method, prefix+name+"/messages", token)
					}
				}
				for _, query := range []string{"channel=" + name + "&after=0", "after=0&channel=chat.1%00&channel=" + name, "channel=chat.1,secret&after=0", "channel[]=" + name, "channel=" + name + "&channel=%3E&after=0"} {
					w.wantNoSecret(t, "GET", "/v1/attach?wait=0&"+query, token)
				}
			}
		})
		if page := w.call(w.as(w.admin, request{method: "GET", path: "/v1/channels/secret/messages"})); len(page.Messages) != 1 {
			t.Errorf("the channel holds %s", page.body)
		}
	})
}

// wantNoSecret checks that a request, which is sent as it stands, is refused, or at least does not get the secret.
func (g *guarded) wantNoSecret(t *testing.T, method, target, token string) {
	t.Helper()
	conn := g.dial()
	defer func() { _ = conn.Close() }()
	go func() { // ends with the connection
		_, _ = io.WriteString(conn, method+" "+target+" HTTP/1.1\r\nHost: fairlead\r\nAuthorization: Bearer "+token+"\r\nContent-Type: text/plain\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	if strings.Contains(string(body), "the secret") || response.StatusCode >= 500 || response.StatusCode < 400 && !strings.HasPrefix(target, "/v1/attach?") {
		t.Errorf("%s %q: got %s %s", method, target, response.Status, body)
	}
}

package gateway

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// evilTexts would be something else than text to who is careless with them.
var evilTexts = []string{
	"a\u2028data: x\u2029b", "ann\ndata: x", "ann\r\nid: a-9", "\x00", "\u0085id: 1", "\", \"from\": \"root", "\\\", \\", "</script><script>", "{\"op\":\"error\"}", ": x", "data: {}", "event: goaway", "\ufeffann", "e\u0301", "🙂", "\u202eann", strings.Repeat("é", 128),
}

// signed is a token that an issuer signs who looks at nothing.
func signed(t testing.TB, sub string, r auth.Rights) string {
	t.Helper()
	return forge(t, object{"alg": "HS256"}, object{"sub": sub, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "fairlead": r}, testSecret)
}

// Who a message is from is said as the token says it, and as nothing else; what could not be said is no sub.
func TestASubIsNothingButASub(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newGuarded(t, Options{})
		healthy := w.healthy()
		defer healthy.hangUp()
		healthy.withstands(func() {
			l := w.attach(transport, helloAs(w.admin, `"channels":{"chat.1":{}}`))
			for _, sub := range evilTexts {
				token := signed(t, sub, chat)
				a := w.call(w.as(token, poster("chat.1", "text/plain", "x")))
				if strings.ContainsAny(sub, "\r\n\x00\u0085") {
					a.wantProblem(t, sub, protocol.Unauthorized)
					continue
				}
				if a.status != 201 {
					t.Fatalf("%q: got %d %s", sub, a.status, a.body)
				}
				if transport == protocol.Poll {
					l = w.open(transport, helloAs(w.admin, `"session":"s","channels":{"chat.1":{"after":"`+l.cursor+`"}}`))
				}
				if m := l.want("message"); m.From != sub {
					t.Errorf("%q came as %s", sub, m.raw)
				}
				page := w.call(w.as(w.admin, request{method: "GET", path: "/v1/channels/chat.1/messages?last=1"}))
				if len(page.Messages) != 1 || page.Messages[0].From != sub {
					t.Errorf("%q is in the history as %s", sub, page.body)
				}
			}
			l.hangUp()
		})
	})
}

// streamLines are the lines that a stream may have (PROTOCOL.md 3.2 and 3.3).
var streamLines = map[protocol.Transport]*regexp.Regexp{
	protocol.SSE:    regexp.MustCompile(`^(|: *|retry: [0-9]+|event: [a-z]+|id: [a-z0-9,-]+|data: (\{.*\}))$`),
	protocol.Stream: regexp.MustCompile(`^( *|(\{.*\}))$`),
}

// Whatever is in a message, and in an error, each line of a stream is what it
// should be, and none is there that should not.
func TestNothingEndsALineOfAStream(t *testing.T) {
	for transport, line := range streamLines {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			healthy := w.healthy()
			defer healthy.hangUp()
			healthy.withstands(func() {
				r := w.as(w.admin, request{method: "GET", path: "/v1/attach?channel=chat.%3E", headers: "Accept: " + acceptOf(transport)})
				response, err := w.trySend(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				lines := bufio.NewReader(response.Body)
				messages := 0
				for _, evil := range evilTexts {
					text, err := json.Marshal(evil)
					if err != nil {
						t.Fatal(err)
					}
					token := signed(t, evil, chat)
					for _, r := range []request{
						poster("chat.1", "text/plain", evil), poster("chat.1", "application/octet-stream", evil), poster("chat.1", "application/json", `{"data":{"x":`+string(text)+`}}`),
						poster("chat.1", "application/json", `{"data":1,"type":`+string(text)+`}`), poster("chat.1", "application/json", `{"data":1,"key":`+string(text)+`}`), poster("chat."+urlEscape(evil), "text/plain", "x"),
					} {
						for _, shown := range []string{w.admin, token} {
							if a := w.call(w.as(shown, r)); a.status == 201 {
								messages++
							}
						}
					}
				}
				for messages > 0 {
					text, err := lines.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					found := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
					if found == nil || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\x00") {
						t.Fatalf("%s: got the line %q", transport, text)
					}
					frame := found[len(found)-1]
					if frame != "" && parseFrame(t, []byte(frame)).Op == "message" {
						messages--
					}
				}
			})
		})
	}
}

func urlEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		const hex = "0123456789abcdef"
		b.WriteString("%" + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
	}
	return b.String()
}

// What a request or a token says may come back in a problem's text, and there only.
func TestTheTextOfAProblemIsNoHeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		healthy := w.healthy()
		defer healthy.hangUp()
		healthy.withstands(func() {
			for _, evil := range append([]string{"x\r\nX-Evil: 1\r\n\r\n<html>", "x\nSet-Cookie: __Host-fairlead=y"}, evilTexts...) {
				text, _ := json.Marshal(evil)
				token := signed(t, "", auth.Rights{Subscribe: []string{evil}})
				for _, r := range []request{
					w.as(token, anAttach), w.as(token, poster("a", "text/plain", "x")),
					w.as(w.admin, request{method: "POST", path: "/v1/attach", body: `{"op":` + string(text) + `}`}), w.as(w.admin, request{method: "POST", path: "/v1/attach", body: `{"channels":{` + string(text) + `:{}}}`}),
					w.as(w.admin, request{method: "POST", path: "/v1/commands", body: `{"session":` + string(text) + `}`}), w.as(w.admin, request{method: "POST", path: "/v1/revoke", body: `{` + string(text) + `:1}`}),
					w.as(w.admin, request{method: "GET", path: "/v1/attach?ticket=" + urlEscape(evil)}), {method: "GET", path: "/v1/attach?ticket=" + urlEscape(evil)}, {method: "GET", path: "/v1/attach?token=" + urlEscape(evil)},
					w.as(w.admin, request{method: "GET", path: "/v1/channels/" + urlEscape(evil) + "/messages"}), {method: "GET", path: "/" + urlEscape(evil)}, {method: "GET", path: "/doctor/" + urlEscape(evil)},
				} {
					response, err := w.trySend(r)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(response.Body)
					_ = response.Body.Close()
					if err != nil || response.StatusCode < 400 && r.path != "/v1/attach?ticket="+urlEscape(evil) || response.StatusCode >= 500 {
						t.Errorf("%s %s: got %s %s, %v", r.path, r.body, response.Status, body, err)
					}
					checkHeader(t, r.path, response.Header)
				}
			}
		})
	})
}

// knownHeaders are those that an answer may have.
var knownHeaders = regexp.MustCompile(`^(Allow|Cache-Control|Connection|Content-Length|Content-Type|Date|Retry-After|Vary|Www-Authenticate|X-Content-Type-Options|Content-Security-Policy|Referrer-Policy|X-Frame-Options|Cross-Origin-[A-Za-z-]+|Permissions-Policy)$`)

// checkHeader checks that an answer has no header that none has, and each with printable text in it.
func checkHeader(t testing.TB, what string, header http.Header) {
	t.Helper()
	for name, values := range header {
		if !knownHeaders.MatchString(name) {
			t.Errorf("%s: got the header %s: %q", what, name, values)
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%s: %s is %q", what, name, value)
			}
		}
	}
}

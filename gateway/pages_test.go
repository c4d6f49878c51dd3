package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// Browsers (PROTOCOL.md 2.6). The gateway is at the host fairlead.

// pageCase is what a page sends, and what becomes of it.
type pageCase struct {
	headers string
	cookie  int    // the status of a request with nothing but a cookie
	bearer  int    // and with a token in the header
	allowed string // Access-Control-Allow-Origin
	with    bool   // credentials
}

const (
	mine     = "Origin: https://fairlead\n"
	app      = "Origin: https://app.example.com\n"
	evil     = "Origin: https://evil.example\n"
	null     = "Origin: null\n"
	cross    = "Sec-Fetch-Site: cross-site\n"
	sameSite = "Sec-Fetch-Site: same-site\n"
	same     = "Sec-Fetch-Site: same-origin\n"
	follows  = "Sec-Fetch-Mode: navigate\n"
)

// owns are cases of the gateway's own pages, of who is no browser, and of who is no script: whatever is listed.
var owns = []pageCase{
	{"", 200, 200, "", false},
	{same, 200, 200, "", false},
	{"Sec-Fetch-Site: none\n", 200, 200, "", false},
	{mine, 200, 200, "", false},
	{mine + same, 200, 200, "", false},
	{"Origin: http://fairlead\n", 401, 200, "", false}, // whose page may have been written on the way
	{cross, 403, 403, "", false},                       // an image
	{sameSite, 403, 403, "", false},
	{cross + follows, 401, 200, "", false}, // a link
}

var pageCases = map[string][]pageCase{
	"": {
		{app, 403, 403, "", false}, {app + cross, 403, 403, "", false}, {evil, 403, 403, "", false}, {null, 403, 403, "", false}, {null + cross, 403, 403, "", false},
		{mine + cross, 403, 403, "", false}, {mine + sameSite, 403, 403, "", false},
		{"Origin: https://fairlead:8443\n", 403, 403, "", false}, {"Origin: https://fairlead.evil.example\n", 403, 403, "", false}, {"Origin: https://sub.fairlead\n" + sameSite, 403, 403, "", false},
		{"Origin: fairlead\n", 403, 403, "", false}, {"Origin: x\n" + cross, 403, 403, "", false}, {"Origin: *\n", 403, 403, "", false},
	},
	"https://app.example.com https://*.example.org https://app.example.net:8443": {
		{app, 200, 200, "https://app.example.com", true}, {app + cross, 200, 200, "https://app.example.com", true}, {app + sameSite, 200, 200, "https://app.example.com", true},
		{"Origin: https://a.example.org\n" + cross, 200, 200, "https://a.example.org", true}, {"Origin: https://a.b.example.org\n", 200, 200, "https://a.b.example.org", true},
		{"Origin: https://app.example.net:8443\n", 200, 200, "https://app.example.net:8443", true},
		{"Origin: http://app.example.com\n", 403, 403, "", false}, {"Origin: https://app.example.com:444\n", 403, 403, "", false}, {"Origin: https://app.example.net\n", 403, 403, "", false},
		{"Origin: https://app.example.com.evil.example\n", 403, 403, "", false}, {"Origin: https://xapp.example.com\n", 403, 403, "", false}, {"Origin: https://example.com\n", 403, 403, "", false},
		{"Origin: https://example.org\n", 403, 403, "", false}, {"Origin: https://evilexample.org\n", 403, 403, "", false}, {"Origin: http://a.example.org\n", 403, 403, "", false},
		{"Origin: https://a.example.org.evil.example\n", 403, 403, "", false}, {"Origin: https://a.example.org:444\n", 403, 403, "", false},
		{evil + cross, 403, 403, "", false}, {null, 403, 403, "", false},
	},
	"*": {
		{app, 401, 200, "*", false}, {evil + cross, 401, 200, "*", false}, {null + cross, 401, 200, "*", false}, {mine + cross, 401, 200, "*", false},
	},
	"https://app.example.com *": {{app, 401, 200, "*", false}, {evil, 401, 200, "*", false}},
	"https://app.example.com http://localhost:3000": {
		{app + cross, 401, 200, "https://app.example.com", false}, {"Origin: http://localhost:3000\n" + cross, 401, 200, "http://localhost:3000", false},
		{"Origin: http://localhost:3001\n", 403, 403, "", false}, {"Origin: https://localhost:3000\n", 403, 403, "", false},
	},
	"https://app.example.com http://*.example.com": {{app, 401, 200, "https://app.example.com", false}, {"Origin: http://a.example.com\n", 401, 200, "http://a.example.com", false}},
}

func TestOnePagesOriginDecidesWhatItMayDo(t *testing.T) {
	for list, cases := range pageCases {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Origins: strings.Fields(list)})
			token := w.token("ann", chat)
			cookie := "Cookie: " + cookieName + "=" + token + "\n"
			for _, c := range append(owns, cases...) {
				what := fmt.Sprintf("%q where %q is listed", c.headers, list)
				for name, r := range map[string]request{
					"reading":    {method: "GET", path: "/v1/channels/chat.1/messages"},
					"attaching":  {method: "GET", path: "/v1/attach?channel=chat.1&wait=0"},
					"publishing": poster("chat.1", "text/plain", "x"),
					"commanding": commanding(`{"op":"ping"}`),
				} {
					with := func(headers string) answer {
						r := r
						r.headers += "\n" + c.headers + headers
						a := w.call(r)
						c.wantHeaders(t, what+", "+name, list, a.header)
						return a
					}
					cookieStatus, bearerStatus := c.cookie, c.bearer
					if r.method != "GET" && !strings.Contains(c.headers, "Origin") && (strings.Contains(c.headers, cross) || strings.Contains(c.headers, sameSite)) {
						cookieStatus, bearerStatus = 403, 403 // a form's, perhaps
					}
					if a := with(cookie); a.status != cookieStatus && (cookieStatus != 200 || a.status != 201) {
						t.Errorf("%s, %s with a cookie: got %d %s, want %d", what, name, a.status, a.body, cookieStatus)
					} else if cookieStatus != 200 {
						a.wantProblem(t, what, map[int]protocol.Code{401: protocol.Unauthorized, 403: protocol.Forbidden}[cookieStatus])
					}
					if a := with("Authorization: Bearer " + token); a.status != bearerStatus && (bearerStatus != 200 || a.status != 201) {
						t.Errorf("%s, %s with a token: got %d %s, want %d", what, name, a.status, a.body, bearerStatus)
					}
				}
			}
		})
	}
}

// wantHeaders checks that an answer has exactly the CORS headers that it has to have.
func (c pageCase) wantHeaders(t *testing.T, what, list string, h http.Header) {
	t.Helper()
	credentials := ""
	if c.with {
		credentials = "true"
	}
	allowed := c.allowed
	if allowed == "" && strings.Contains(c.headers, "Origin") && strings.HasSuffix(list, "*") {
		allowed = "*" // its own pages are told so, too
	}
	if got := h.Values("Access-Control-Allow-Origin"); strings.Join(got, "|") != allowed {
		t.Errorf("%s: Access-Control-Allow-Origin is %q, want %q", what, got, allowed)
	}
	if got := h.Values("Access-Control-Allow-Credentials"); strings.Join(got, "|") != credentials {
		t.Errorf("%s: Access-Control-Allow-Credentials is %q, want %q", what, got, credentials)
	}
	if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("%s: Vary is %q", what, h.Values("Vary"))
	}
}

// preflight asks whether a page may send a request.
func (w *world) preflight(path, origin, method, headers string) http.Header {
	r := request{method: "OPTIONS", path: path, headers: origin + "Access-Control-Request-Method: " + method}
	if headers != "" {
		r.headers += "\nAccess-Control-Request-Headers: " + headers
	}
	response := w.send(r)
	if response.StatusCode != 204 {
		w.t.Errorf("a preflight: got %s", response.Status)
	}
	return response.Header
}

func TestPreflightsAreAnsweredAsTheRequestWillBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Origins: []string{"https://app.example.com"}})
		for _, path := range []string{"/v1/attach", "/v1/commands", "/v1/channels/chat.1/messages", "/v1/publish", "/v1/tickets"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				for _, headers := range []string{"", "authorization", "content-type", "accept,authorization,content-type,last-event-id", "fairlead-type,idempotency-key"} {
					h := w.preflight(path, app, method, headers)
					if h.Get("Access-Control-Allow-Origin") != "https://app.example.com" || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Access-Control-Allow-Methods") != method || h.Get("Access-Control-Allow-Headers") != headers || h.Get("Access-Control-Max-Age") == "" {
						t.Errorf("%s %s %q: got %v", method, path, headers, h)
					}
				}
			}
			for what, h := range map[string]http.Header{
				"another page": w.preflight(path, evil, "POST", "content-type"), "null": w.preflight(path, null, "POST", ""),
				"another method": w.preflight(path, app, "PUT", ""), "another header": w.preflight(path, app, "POST", "x-evil"),
			} {
				for name := range h {
					if strings.HasPrefix(name, "Access-Control") {
						t.Errorf("%s at %s: got %s: %s", what, path, name, h.Get(name))
					}
				}
			}
		}
		all := newGuarded(t, Options{Origins: []string{"*"}})
		if h := all.preflight("/v1/commands", evil, "POST", "authorization"); h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("where all are listed: got %v", h)
		}
	})
}

func TestWhatIsPublicIsForEveryPage(t *testing.T) {
	for _, list := range [][]string{nil, {"https://app.example.com"}, {"*"}} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Origins: list})
			for _, path := range []string{"/v1/ping", "/v1/client.js"} {
				for _, origin := range []string{"", app, evil, null, evil + cross, cross} {
					response := w.send(request{method: "GET", path: path, headers: origin + "Cookie: " + cookieName + "=x"})
					want := "*"
					if !strings.Contains(origin, "Origin") {
						want = ""
					}
					if h := response.Header; response.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != want || h.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("%s from %q: got %s, %v", path, origin, response.Status, h)
					}
				}
				if h := w.preflight(path, evil, "GET", ""); h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("a preflight of %s: got %v", path, h)
				}
			}
		})
	}
}

// The one list is for WebSockets, too: no browser keeps a page from opening one.
func TestAWebSocketOfAPageThatIsNotListedIsRefusedBeforeItIsOne(t *testing.T) {
	for list, cases := range pageCases {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{Origins: strings.Fields(list)})
			cookie := "Cookie: " + cookieName + "=" + w.token("ann", chat)
			for _, c := range append(owns, cases...) {
				what := fmt.Sprintf("%q where %q is listed", c.headers, list)
				r := request{method: "GET", path: "/v1/attach?channel=chat.1", headers: c.headers + cookie}
				if c.cookie == 403 {
					w.rawCall(rawHandshakeTo(request{path: r.path, headers: strings.ReplaceAll(r.headers, "\n", "\r\n")})).wantProblem(t, what, protocol.Forbidden)
					continue
				}
				f := w.begin(protocol.WebSocket, r)
				if got := map[string]int{"welcome": 200, "error": 401}[f.Op]; got != c.cookie || f.Op == "error" && f.Code != "unauthorized" {
					t.Errorf("%s: got %s", what, f.raw)
				}
			}
		})
	}
}

// Nothing there acts for anybody.
func TestPagesAndHealthAreServedToEveryPage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		for _, path := range []string{"/", "/doctor", "/healthz", "/readyz"} {
			response := w.send(request{method: "GET", path: path, headers: evil + cross})
			if h := response.Header; response.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: got %s, %v", path, response.Status, h)
			}
		}
	})
}

// An open gateway is used by the pages of its own origin, too, and by no others.
func TestPagesElsewhereMayNotUseAnOpenGateway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		post := poster("a", "text/plain", "x")
		post.headers += "\n" + evil + cross
		w.call(post).wantProblem(t, "another page", protocol.Forbidden)
		post = poster("a", "text/plain", "x")
		post.headers += "\n" + mine + same
		if a := w.call(post); a.status != 201 {
			t.Errorf("a page of its own: got %d %s", a.status, a.body)
		}
	})
}

func TestWhatIsNoOriginIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for _, origin := range []string{"", "null", "app.example.com", "//app.example.com", "https://", "https://app.example.com/", "https://app.example.com/x", "https://app.example.com?x", "https://u@app.example.com", "ftp://app.example.com", "https://App.example.com", "https://*", "https://a.*.example.com", "https://*a.example.com", "*.example.com", "https://*.*.example.com", "**", " *",
			"HTTPS://app.example.com", "https://app.example.com?", "https://app.example.com#", "https://app.example.com#x", "https://:8080", "https://bücher.example", "https:app.example.com", "https://[fe80::1%25eth0]", "https://*.a.example://*.b.example",
			"https://a.example:443", "http://a.example:80", "https://a.example:", "https://a.example:99999", "https://a.example:08443", "https://*.a.example:443"} {
			err := w.g.Reload(Options{Origins: []string{"https://good.example.com", origin}})
			if err == nil || !strings.Contains(err.Error(), "is not an origin: write it as a browser does") {
				t.Errorf("%q: got %v", origin, err)
			}
			if _, err := New(w.broker, Options{Origins: []string{origin}}); err == nil {
				t.Errorf("%q is taken at the beginning", origin)
			}
		}
	})
}

// A page elsewhere whose name leads to this machine is of the same origin, and so may send what it likes.
func TestAGatewayForThisMachineOnlyKnowsItByItsName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		local, any := newWorld(t, Options{LocalOnly: true}, broker.Options{}), newWorld(t, Options{}, broker.Options{})
		hosts := map[bool][]string{
			true:  {"localhost", "LocalHost", "localhost:8080", "a.localhost", "127.0.0.1", "127.0.0.1:8080", "127.9.9.9", "[::1]", "[::1]:8080", "[::ffff:127.0.0.1]:80"},
			false: {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "localhost.", "10.0.0.1", "0.0.0.0", "[::]", "[::]:8080", "169.254.169.254", "2130706433", "0x7f.1", "127.1", "[fe80::1]", "fairlead", ""},
		}
		for may, names := range hosts {
			for _, host := range names {
				for _, text := range []string{
					"GET /v1/ping HTTP/1.1\r\nHost: %[1]s\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: %[1]s\r\nConnection: close\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: %[1]s\r\nConnection: close\r\n\r\n",
					"POST /v1/channels/a/messages HTTP/1.1\r\nHost: %[1]s\r\nOrigin: http://%[1]s\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
				} {
					text = fmt.Sprintf(text, host)
					if strings.HasPrefix(text, "GET /healthz") && may {
						continue // whose status is text
					}
					a := local.rawCall(text)
					if may && a.status >= 300 {
						t.Errorf("the host %q: got %d %s", host, a.status, a.body)
					}
					if !may {
						a.wantProblem(t, host, protocol.Forbidden)
					}
				}
				if a := any.rawCall(fmt.Sprintf("GET /v1/ping HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)); a.status != 200 {
					t.Errorf("the host %q of a gateway for all: got %d %s", host, a.status, a.body)
				}
			}
		}
		local.rawCall(strings.Replace(handshakeText, "Host: x", "Host: evil.example", 1)+"\r\n").wantProblem(t, "a handshake", protocol.Forbidden)
		local.rawCall("GET http://evil.example/v1/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").wantProblem(t, "a URL beside the header", protocol.Forbidden)
	})
}

func TestWhatBrowsersWriteIsAnOrigin(t *testing.T) {
	for _, origin := range []string{"*", "https://app.example.com", "https://app.example.com:8443", "http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000", "https://*.example.com", "https://*.example.com:8443", "https://xn--bcher-kva.example", "https://a_b.example"} {
		if err := CheckOrigin(origin); err != nil {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

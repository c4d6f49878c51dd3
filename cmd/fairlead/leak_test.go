package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestNothingSecretIsWritten shows a gateway every kind of secret, good and bad,
// in every place where one can stand, on every transport, and then looks for
// them, and for their parts, in all that came out of it.
func TestNothingSecretIsWritten(t *testing.T) {
	t.Parallel()
	l := startLeaky(t)
	for name, credential := range l.credentials {
		l.everywhere(name, credential)
	}
	l.tickets()
	l.garbage()
	l.request(http.MethodGet, "/metrics", "", "Authorization", "Bearer "+l.credentials["an API key"])
	l.reload()
	l.stop()
	l.commands()
	l.findSecrets()
}

// leaky is a gateway under this test.
type leaky struct {
	t           *testing.T
	url         string
	env, args   []string
	cmd         *exec.Cmd
	out, log    recorder
	answers     recorder          // all that it answered
	credentials map[string]string // by what they are
	secrets     map[string]string // what must not be found, by what it is of
}

// leakySecret is in the environment.
const leakySecret = "d0nt-t3ll-4nyb0dy-about-this-secret"

func startLeaky(t *testing.T) *leaky {
	t.Helper()
	l := &leaky{t: t, credentials: map[string]string{}, secrets: map[string]string{}}
	l.mint()
	issuer := httptest.NewServer(http.NotFoundHandler()) // whose answers are logged as failures
	t.Cleanup(issuer.Close)
	key := runProgram(t, nil, "api-key", "backend", "--publish=>", "--subscribe=>", "--manage=>")
	l.credential("an API key", strings.TrimSpace(key.out))
	private, _ := newKeyPair(t)
	settings := fmt.Sprintf("auth:\n  secret_file: %s\n  keys: [%s, %s]\n  jwks: %s/keys?key=jwks-password\n  audience: [here]\n  api_keys: %s\n",
		writeFile(t, "an0ther-secret-that-stands-in-a-file"), writeFile(t, private), writeFile(t, `{"keys":[`+octKey("j")+`]}`), issuer.URL, writeFile(t, key.err))
	l.secret("the secret", leakySecret)
	l.secret("the secret's file", "an0ther-secret-that-stands-in-a-file")
	l.secret("the private key", strings.Split(private, "\n")[1])
	l.secret("the JWK", strings.Repeat("j", 32))
	l.secret("the JWKS' address", "jwks-password")

	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	l.env = []string{"FAIRLEAD_AUTH_SECRET=" + leakySecret}
	l.args = []string{"--config", writeFile(t, settings), "--listen=127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--drain=10ms", "--log-level=debug", "--log-format=json"}
	l.cmd = exec.Command(program, l.args...)
	l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr = l.env, &l.out, &l.log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill(); _ = l.cmd.Wait() })
	l.url = strings.TrimPrefix(l.out.await(t, "\n"), "fairlead listening on ")
	return l
}

// secret remembers what must not be found.
func (l *leaky) secret(of, text string) { l.secrets[of] = text }

// credential remembers one to use, and that neither it nor its parts may be found.
func (l *leaky) credential(name, text string) {
	l.credentials[name] = text
	l.secret(name, text)
	for i, part := range strings.FieldsFunc(text, func(r rune) bool { return r == '.' || r == '_' }) {
		if len(part) > 8 {
			l.secret(fmt.Sprintf("%s, part %d", name, i), part)
		}
	}
}

// mint makes tokens that are good, and tokens that are not, in every way.
func (l *leaky) mint() {
	hour := time.Now().Add(time.Hour).Unix()
	sign := func(header, claims, secret string) string {
		encode := base64.RawURLEncoding.EncodeToString
		text := encode([]byte(header)) + "." + encode([]byte(claims))
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(text))
		return text + "." + encode(mac.Sum(nil))
	}
	claims := func(exp int64, sub, rest string) string {
		return fmt.Sprintf(`{"iat":%d,"exp":%d,"sub":%q,"aud":"here","fairlead":{"subscribe":[">"],"publish":[">"]}%s}`, exp-3600, exp, sub, rest)
	}
	for name, token := range map[string]string{
		"a good token":          sign(`{"alg":"HS256","typ":"JWT","n":1}`, claims(hour, "good", ""), leakySecret),
		"a narrow token":        sign(`{"alg":"HS256","n":2}`, fmt.Sprintf(`{"iat":%d,"exp":%d,"aud":"here","fairlead":{"subscribe":["none"]}}`, hour-3600, hour), leakySecret),
		"an expired token":      sign(`{"alg":"HS256","n":3}`, claims(5000, "expired", ""), leakySecret),
		"a forged token":        sign(`{"alg":"HS256","n":4}`, claims(hour, "forged", ""), "some other secret of thirty-two bytes"),
		"a token of no key":     sign(`{"alg":"RS256","kid":"elsewhere","n":5}`, claims(hour, "unknown", ""), leakySecret),
		"a token of no one":     sign(`{"alg":"none","n":6}`, claims(hour, "none", ""), leakySecret),
		"a token without end":   sign(`{"alg":"HS256","n":7}`, `{"aud":"here","sub":"endless"}`, leakySecret),
		"a token for others":    sign(`{"alg":"HS256","n":8}`, strings.Replace(claims(hour, "other", ""), "here", "there", 1), leakySecret),
		"a token with a slip":   sign(`{"alg":"HS256","n":9}`, claims(hour, "slip", `,"jti":7`), leakySecret),
		"a token that is large": sign(`{"alg":"HS256","n":10}`, claims(hour, "large", `,"x":"`+strings.Repeat("large", 2000)+`"`), leakySecret),
		"something":             "c0mpletely.m4lformed.cr3dential",
		"an unknown API key":    "fl_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
		"an unknown ticket":     "tk_UNKNOWNTICKETUNKNOWNTICKET",
	} {
		l.credential(name, token)
	}
}

// everywhere shows a credential in every place, on every transport.
func (l *leaky) everywhere(name, credential string) {
	quoted, _ := json.Marshal(credential)
	hello := `{"op":"hello","channels":{"a":{}},"wait":0,"token":` + string(quoted) + `}`
	commands := `[{"op":"publish","cid":1,"channel":"a","data":1},{"op":"subscribe","cid":2,"channel":"b"},{"op":"history","cid":3,"channel":"a"},{"op":"auth","cid":4,"token":` + string(quoted) + `}]`
	bearer, cookie := []string{"Authorization", "Bearer " + credential}, []string{"Cookie", "__Host-fairlead=" + credential, "Sec-Fetch-Site", "same-origin"}
	for _, shown := range [][]string{
		bearer, cookie, {"Authorization", "Basic " + credential}, {"Authorization", credential}, {"X-Api-Key", credential},
		{"Cookie", "__Host-fairlead=" + credential, "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site"}, {"Sec-WebSocket-Protocol", "fairlead.v1, " + credential},
	} {
		for _, accept := range []string{"text/event-stream", "application/x-ndjson", "*/*"} {
			l.request(http.MethodGet, "/v1/attach?channel=a&wait=0", "", append(shown, "Accept", accept)...)
		}
		l.request(http.MethodPost, "/v1/channels/a/messages", `{"data":1}`, shown...)
		l.request(http.MethodGet, "/v1/channels/a/messages", "", shown...)
		l.request(http.MethodDelete, "/v1/channels/a/messages", "", shown...)
		l.request(http.MethodPost, "/v1/publish", `{"channels":["a"],"data":1}`, shown...)
		l.request(http.MethodPost, "/v1/commands", `{"session":"s","commands":`+commands+`}`, shown...)
		l.request(http.MethodPost, "/v1/revoke", `{"sub":"nobody"}`, shown...)
		l.request(http.MethodGet, "/v1/nothing", "", shown...)
		l.webSocket("/v1/attach?channel=a", shown)
	}
	for _, accept := range []string{"text/event-stream", "application/x-ndjson", "*/*"} {
		for _, body := range []string{hello, hello[:len(hello)-2], `{"token":` + string(quoted) + `,"channels":7}`} {
			l.request(http.MethodPost, "/v1/attach", body, "Accept", accept)
		}
		for _, parameter := range []string{"token", "access_token", "api_key", "ticket"} {
			l.request(http.MethodGet, "/v1/attach?channel=a&wait=0&"+parameter+"="+credential, "", "Accept", accept)
		}
	}
	l.request(http.MethodPost, "/v1/channels/a/messages?token="+credential, `{"data":1}`)
	l.request(http.MethodGet, "/v1/"+credential, "")
	for _, body := range []string{`{"token":` + string(quoted) + `,"session":"s","commands":` + commands + `}`, `{"token":` + string(quoted) + `,"session":"s","commands":`, `{"token":[` + string(quoted) + `]}`} {
		l.request(http.MethodPost, "/v1/commands", body)
	}
	l.webSocket("/v1/attach", nil, hello, `{"op":"auth","cid":5,"token":`+string(quoted)+`}`, `{"op":"publish","cid":6,"channel":"a","data":1}`, `{"op":"auth","token":[`+string(quoted)+`]}`)
	l.webSocket("/v1/attach", nil, hello[:len(hello)-1])
	l.webSocket("/v1/attach", nil, `{"op":"hello","channels":{"a":{}}}`, `{"op":"auth","cid":5,"token":`+string(quoted)+`}`)
	l.webSocket("/v1/attach?channel=a&ticket="+credential, nil)
	l.webSocket("/v1/attach?channel=a&token="+credential, nil)
	if strings.Contains(l.answers.String(), credential) {
		l.t.Errorf("%s is in an answer", name)
	}
}

// tickets uses tickets, which are in URLs, once and again.
func (l *leaky) tickets() {
	for i, token := range []string{"a good token", "an API key"} {
		response := l.do(http.MethodPost, "/v1/tickets", "{}", "Authorization", "Bearer "+l.credentials[token])
		var issued struct{ Ticket string }
		err := json.NewDecoder(response.Body).Decode(&issued)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusCreated || issued.Ticket == "" {
			l.t.Fatalf("a ticket: %s, %v", response.Status, err)
		}
		l.secret(fmt.Sprintf("ticket %d", i), strings.TrimPrefix(issued.Ticket, "tk_"))
		for range 2 {
			l.request(http.MethodGet, "/v1/attach?channel=a&wait=0&ticket="+issued.Ticket, "")
			l.webSocket("/v1/attach?channel=a&ticket="+issued.Ticket, nil)
		}
		l.request(http.MethodGet, "/v1/channels/a/messages?ticket="+issued.Ticket, "")
	}
}

// garbage sends what is hardly HTTP.
func (l *leaky) garbage() {
	token := l.credentials["a good token"]
	for _, text := range []string{
		"GET /v1/attach HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer " + token + "\r\n\r\n",
		"GET /v1/attach HTTP/1.1\r\nHost: localhost\r\n" + token + "\r\n\r\n",
		"GET /v1/attach?ticket=" + token + " HTTP/9.9\r\nHost: localhost\r\n\r\n",
		token + "\r\n\r\n",
		"POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + token,
		"POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nContent-Length: 100\r\n\r\n" + token[:20],
	} {
		conn := dialHere(l.t, l.url, text)
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		_, _ = l.answers.Write(answer)
		_ = conn.Close()
	}
}

// do is the answer to a request. headers are names and values in turn.
func (l *leaky) do(method, path, body string, headers ...string) *http.Response {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), method, l.url+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response
}

// request sends one, and records the answer: of a stream, what comes first.
func (l *leaky) request(method, path, body string, headers ...string) {
	l.t.Helper()
	response := l.do(method, path, body, headers...)
	defer func() { _ = response.Body.Close() }()
	_ = response.Header.Write(&l.answers)
	var answer io.Reader = response.Body
	if kind := response.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/event-stream") || strings.HasPrefix(kind, "application/x-ndjson") {
		answer = io.LimitReader(response.Body, 2<<10) // the padding, at least; there may be nothing more
	}
	_, _ = io.Copy(&l.answers, answer)
}

// webSocket opens one, sends the frames, and records what comes until it ends.
func (l *leaky) webSocket(path string, headers []string, frames ...string) {
	l.t.Helper()
	header := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	dialer := ws.Dialer{Protocols: []string{"fairlead.v1"}, Header: ws.HandshakeHeaderHTTP(header)}
	if header.Get("Sec-WebSocket-Protocol") != "" {
		dialer.Protocols = nil
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	conn, buffered, _, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(l.url, "http")+path)
	if err != nil {
		return // refused: what is answered is that of the other transports
	}
	defer func() { _ = conn.Close() }()
	for _, frame := range append(frames, `{"op":"bye"}`) {
		if wsutil.WriteClientText(conn, []byte(frame)) != nil {
			break
		}
	}
	var incoming io.Reader = conn
	if buffered != nil {
		incoming = buffered
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		frame, err := ws.ReadHeader(incoming)
		if err == nil {
			_, err = io.CopyN(&l.answers, incoming, frame.Length)
		}
		if err != nil || frame.OpCode == ws.OpClose {
			return
		}
	}
}

// reload has the files read again, a good one and a bad one.
func (l *leaky) reload() {
	path := l.args[1]
	text, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	for said, file := range map[string]string{
		`"changed":["limits.attachments"]`: string(text) + "limits: {attachments: 99}\n",
		"are not reloaded":                 strings.Replace(string(text), "auth:", "auth:\n  secert: "+leakySecret, 1),
	} {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			l.t.Fatal(err)
		}
		_ = l.cmd.Process.Signal(syscall.SIGHUP)
		l.log.await(l.t, said)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *leaky) stop() {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	if err := l.cmd.Wait(); err != nil {
		l.t.Errorf("the gateway ended with %v: %s", err, l.log.String())
	}
}

// commands runs those that show settings, and those that use the keys.
func (l *leaky) commands() {
	bad := append([]string{"--auth-secret=" + leakySecret, "--nats=nats://user:nats-password@127.0.0.1:1", "--stream-dedupe=24h", "--stream-max-age=1h"}, l.args[:2]...)
	l.secret("the password of NATS", "nats-password")
	for _, args := range [][]string{
		append([]string{"--print-config"}, l.args...), append([]string{"check-config"}, l.args...), append([]string{"check-config"}, bad...),
		append([]string{"serve", "--print-config"}, bad...), {"--print-config", "--nats=nats://user:nats-password@127.0.0.1:1"}, {"serve", "--listen=127.0.0.1:0", "--nats=nats://user:nats-password@127.0.0.1:1"},
		{"serve", "--help"}, {"token", "--ttl=0s"}, {"token", "--sub= bad"},
	} {
		got := runProgram(l.t, l.env, args...)
		fmt.Fprintln(&l.out, got.out)
		fmt.Fprintln(&l.log, got.err)
	}
}

// findSecrets looks for them in all that was written.
func (l *leaky) findSecrets() {
	for place, text := range map[string]string{"stdout": l.out.String(), "stderr": l.log.String(), "an answer": l.answers.String()} {
		if len(text) < 1000 {
			l.t.Errorf("%s has only %d bytes", place, len(text))
		}
		for of, secret := range l.secrets {
			if at := strings.Index(text, secret); at >= 0 {
				l.t.Errorf("%s is in %s: %q", of, place, text[max(at-200, 0):min(at+len(secret)+50, len(text))])
			}
		}
	}
	for _, want := range []string{`"level":"DEBUG"`, "fairlead_attachments", "the settings are in order", "the key set cannot be fetched: tokens with new keys are put off"} {
		if all := l.out.String() + l.log.String() + l.answers.String(); !strings.Contains(all, want) {
			l.t.Errorf("there is no %s in what was written: was it looked at?", want)
		}
	}
}

// A recorder keeps what is written to it. Its methods may be called concurrently.
type recorder struct {
	mu      sync.Mutex // guards the following
	text    bytes.Buffer
	changed chan struct{} // closed at the next write, if somebody waits for it
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
	return r.text.Write(b)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// await waits for the text, and returns what stands before it.
func (r *recorder) await(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		before, _, found := strings.Cut(r.text.String(), text)
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if found {
			return before
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %q in %q", text, r.String())
		}
	}
}

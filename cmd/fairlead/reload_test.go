package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance"
	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
	"github.com/fairlead/fairlead/gateway"
)

// TestAKeyIsRotatedUnderAClient replaces the key in two steps, as README.md
// says, and the API keys: who is attached hears everything over one attachment.
func TestAKeyIsRotatedUnderAClient(t *testing.T) {
	old, next := octKey("old"), octKey("new")
	backend := runProgram(t, nil, "api-key", "backend", "--publish=a")
	other := runProgram(t, nil, "api-key", "other", "--publish=a")
	g := startReloaded(t, "auth:\n  keys: DIR/keys.json\n  api_keys: DIR/api-keys.yaml\n", map[string]string{"keys.json": old, "api-keys.yaml": backend.err})
	oldToken, newToken := mint(t, old), mint(t, next)
	hears := g.attach(oldToken)
	expect := func(step string, statuses map[string]int) {
		t.Helper()
		for credential, want := range statuses {
			if got := g.publish(credential, step); got != want {
				t.Errorf("%s: a credential that begins with %.10s is answered %d, want %d", step, credential, got, want)
			}
		}
		hears(step)
	}
	backendKey, otherKey := strings.TrimSpace(backend.out), strings.TrimSpace(other.out)
	expect("before", map[string]int{oldToken: 201, newToken: 401, backendKey: 201, otherKey: 401})

	g.write("keys.json", `{"keys":[`+next+`,`+old+`]}`)
	g.write("api-keys.yaml", backend.err+other.err)
	g.reload()
	expect("amid", map[string]int{oldToken: 201, newToken: 201, backendKey: 201, otherKey: 201})

	g.write("keys.json", next)
	g.write("api-keys.yaml", other.err)
	g.reload()
	expect("after", map[string]int{oldToken: 401, newToken: 201, backendKey: 401, otherKey: 201})

	g.hangUp() // with nothing changed
	g.said("the settings are reloaded", `"changed":null`)
	expect("still", map[string]int{newToken: 201})
}

// TestABadFileLeavesTheOldSettingsInForce breaks each file in turn.
func TestABadFileLeavesTheOldSettingsInForce(t *testing.T) {
	key := octKey("key")
	const file = "limits: {attachments: 7}\nauth:\n  keys: DIR/keys.json\n"
	g := startReloaded(t, file, map[string]string{"keys.json": key})
	token := mint(t, key)
	hears := g.attach(token)
	for name, broken := range map[string]struct{ file, keys, says string }{
		"no YAML":         {"auth: [", key, "fairlead.yaml:1"},
		"a slip":          {"limit: {attachments: 8}\n" + file, key, "limit, in"},
		"no number":       {strings.ReplaceAll(file, "7", "seven"), key, "limits.attachments is"},
		"a contradiction": {file + "stream: {max_age: 1m}\n", key, "stream.dedupe"},
		"no keys":         {file, "", "auth.keys"},
		"broken keys":     {file, `{"keys":[` + key, "auth.keys"},
		"no such file":    {strings.ReplaceAll(file, "keys.json", "none.json"), key, "none.json"},
	} {
		g.settings(broken.file)
		g.write("keys.json", broken.keys)
		g.hangUp()
		g.said("the settings are not reloaded", broken.says)
		if got := g.publish(token, name); got != 201 {
			t.Errorf("%s: got %d", name, got)
		}
		hears(name)
	}
	g.settings(file)
	g.write("keys.json", key)
	g.reload()
	hears = g.attach(token)
	g.publish(token, "again")
	hears("again")
}

// TestWhatIsReloadedTakesEffect changes everything that can change, and some that cannot.
func TestWhatIsReloadedTakesEffect(t *testing.T) {
	key := octKey("key")
	g := startReloaded(t, "auth: {keys: DIR/keys.json}\nlimits: {attachments: 1}\n", map[string]string{"keys.json": key})
	token := mint(t, key)
	hears := g.attach(token)
	evil := []string{"Origin", "https://app.example.com", "Sec-Fetch-Site", "cross-site"}
	large := strings.Repeat("x", 300<<10)
	expect := func(full, anonymous, page, size int) {
		t.Helper()
		g.publish(token, "one more")
		hears("one more")
		if got := g.status(token, "/v1/attach?channel=a&after=0&wait=0", ""); got != full {
			t.Errorf("a second attachment: got %d, want %d", got, full)
		}
		if got := g.status("", "/v1/channels/news/messages", ""); got != anonymous {
			t.Errorf("without a token: got %d, want %d", got, anonymous)
		}
		if got := g.status(token, "/v1/channels/a/messages", "", evil...); got != page {
			t.Errorf("from another page: got %d, want %d", got, page)
		}
		if got := g.publish(token, large); got != size {
			t.Errorf("a large message: got %d, want %d", got, size)
		}
	}
	expect(503, 401, 403, 413)
	g.settings("auth:\n  keys: DIR/keys.json\n  anonymous: {subscribe: news}\nlimits: {attachments: 2, frame: 1MiB}\norigins: https://app.example.com\nlog: {level: debug}\ndrain: 6s\n")
	g.hangUp()
	g.said("the settings are reloaded", `["auth.anonymous.subscribe","origins","limits.frame","limits.attachments","log.level"]`, `"open":false`)
	g.said("restart", `["drain"]`)
	expect(200, 200, 200, 201)
	_ = g.do(token, "/v1/attach?channel=a", "", "Accept", "text/event-stream").Body.Close()
	g.said(`"level":"DEBUG"`, "attachment ended")

	g.settings("limits: {attachments: 2}\n") // without keys
	g.hangUp()
	g.said("the settings are not reloaded", "open")
	expect(200, 200, 200, 201)
}

// TestLimitsOfConnectionsAreReloadedUnderClients has one attached by HTTP/1.1
// and one by WebSocket, and a third that only keeps its connection.
func TestLimitsOfConnectionsAreReloadedUnderClients(t *testing.T) {
	g := startReloaded(t, "limits: {connections: 100}\n", nil)
	hears := g.attach("")
	socket := g.attachWebSocket()
	origin := keep(t, g.url)
	origin.publish("before")
	hears("before")
	socket("before")
	g.settings("limits: {connections: 100, header: 4KiB, header_wait: 100ms, idle: 200ms}\n")
	g.hangUp()
	g.said("the settings are reloaded", `["limits.header","limits.header_wait","limits.idle"]`)
	wantEnd(t, dialHere(t, g.url, "GET /"))
	if said := wantEnd(t, dialHere(t, g.url, "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")); !strings.Contains(said, " 200 OK") {
		t.Errorf("got %q", said)
	}
	large := "GET /v1/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n"
	if said := wantEnd(t, dialHere(t, g.url, large)); !strings.Contains(said, " 431 ") {
		t.Errorf("got %q", said)
	}

	g.settings("limits: {connections: 3, header: 4KiB, header_wait: 100ms, idle: 200ms}\n")
	g.hangUp()
	g.said("the settings are reloaded", `["limits.connections"]`)
	wantRefused(t, g.url)
	if got := origin.metric("fairlead_connections_limit"); got != 3 {
		t.Errorf("the limit is %v", got)
	}
	origin.publish("after")
	hears("after")
	socket("after")
}

// TestAnOpenGatewayIsClosedByAReload gives keys to one that had none.
func TestAnOpenGatewayIsClosedByAReload(t *testing.T) {
	key := octKey("key")
	g := startReloaded(t, "limits: {attachments: 7}\n", map[string]string{"keys.json": key})
	token := mint(t, key)
	if got := g.publish("", "open"); got != 201 {
		t.Errorf("open: got %d", got)
	}
	g.settings("auth: {keys: DIR/keys.json}\n")
	g.reload()
	if got := g.publish("", "closed"); got != 401 {
		t.Errorf("closed: got %d without a token", got)
	}
	if got := g.publish(token, "closed"); got != 201 {
		t.Errorf("closed: got %d with a token", got)
	}
}

// reloaderOf is a reloader of a gateway that does nothing but count reloads.
func reloaderOf(t *testing.T, file string) (r *reloader, path string, reloads *int) {
	t.Helper()
	path, reloads = writeFile(t, file), new(int)
	running, now, err := (&sources{args: []string{"--config", path}}).again()
	if err != nil {
		t.Fatal(err)
	}
	r = &reloader{running: running, level: new(slog.LevelVar), sources: now, log: slog.New(slog.DiscardHandler)}
	if r.entrance, err = entrance.Open(t.Context(), entrance.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.entrance.Close() })
	r.node = &node{reload: func(gateway.Options) error { *reloads++; return nil }}
	if r.guard, err = running.openGuard(nil, now.originOf, r.log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.guard.close() })
	return r, path, reloads
}

// TestAReloadDoesNotOpenAGatewayToOthers has settings that are good only after a restart.
func TestAReloadDoesNotOpenAGatewayToOthers(t *testing.T) {
	r, path, reloads := reloaderOf(t, "listen: 0.0.0.0:1\nauth: {anonymous: {subscribe: a}}\n")
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.reloadSettings(); err == nil || !strings.Contains(err.Error(), "restart, which listen need") || *reloads > 0 || r.running.open() {
		t.Errorf("got %v, and %d reloads", err, *reloads)
	}
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:1\nauth: {anonymous: {subscribe: b}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.reloadSettings(); err != nil || *reloads != 1 || r.running.Listen != "0.0.0.0:1" || r.running.Auth.Anonymous.Subscribe.String() != "b" {
		t.Errorf("got %v, %d reloads, %+v", err, *reloads, r.running)
	}
}

// TestALimitIsReloadableIfItIsHandedOn goes through all limits, those too that are yet to come.
func TestALimitIsReloadableIfItIsHandedOn(t *testing.T) {
	var before, after config
	eachSetting(reflect.ValueOf(&before.Limits).Elem(), reflect.ValueOf(&after.Limits).Elem(), func(key string, _, limit reflect.Value) {
		limit.SetInt(7)
		toEntrance := !reflect.DeepEqual(before.entrance(nil), after.entrance(nil))
		toGateway := before.Limits.gateway() != after.Limits.gateway()
		limit.SetInt(0)
		if got := reloadable(key); got != (toEntrance || toGateway) {
			t.Errorf("%s: reloadable is %t, and it is handed to the entrance: %t, to the gateway: %t", key, got, toEntrance, toGateway)
		}
	})
}

// TestAKeySetIsFetchedOnAfterAReload reloads without a change to keys, while
// the key set is being fetched: that goes on.
func TestAKeySetIsFetchedOnAfterAReload(t *testing.T) {
	private, public := newKeyPair(t)
	asked, reloaded := make(chan struct{}, 10), make(chan struct{})
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-reloaded
		fmt.Fprintf(w, `{"keys":[%s]}`, publicJWK(t, public))
	}))
	defer issuer.Close()
	settings := "auth: {issuer: me, jwks: " + issuer.URL + "}\n"
	r, path, reloads := reloaderOf(t, settings)
	<-asked
	if err := os.WriteFile(path, []byte(settings+"limits: {attachments: 7}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := r.reloadSettings()
	close(reloaded)
	if err != nil || *reloads != 1 {
		t.Fatalf("got %v, %d reloads", err, *reloads)
	}
	token := runProgram(t, nil, "token", "--sub=ada", "--subscribe=a", "--auth-issuer=me", "--auth-keys", writeFile(t, private))
	if grant, err := r.guard.verifier.Verify(t.Context(), strings.TrimSpace(token.out)); err != nil || grant.Subject != "ada" {
		t.Errorf("got %+v, %v, and the key set was asked for %d times more", grant, err, len(asked))
	}
}

// TestAKeySetOutlivesAReloadOfOtherKeys has an issuer that is out of reach when the keys change.
func TestAKeySetOutlivesAReloadOfOtherKeys(t *testing.T) {
	private, public := newKeyPair(t)
	down := make(chan struct{})
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-down:
			http.Error(w, "down", http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, `{"keys":[%s]}`, publicJWK(t, public))
		}
	}))
	defer issuer.Close()
	settings := "auth: {issuer: me, jwks: " + issuer.URL + "}\n"
	r, path, _ := reloaderOf(t, settings)
	token := strings.TrimSpace(runProgram(t, nil, "token", "--sub=ada", "--subscribe=a", "--auth-issuer=me", "--auth-keys", writeFile(t, private)).out)
	if _, err := r.guard.verifier.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	close(down)
	before := r.guard
	if err := os.WriteFile(path, []byte(strings.Replace(settings, "}", ", anonymous: {subscribe: a}}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.reloadSettings(); err != nil || r.guard == before {
		t.Fatalf("got %v, and a new guard: %t", err, r.guard != before)
	}
	if grant, err := r.guard.verifier.Verify(t.Context(), token); err != nil || grant.Subject != "ada" {
		t.Errorf("got %+v, %v", grant, err)
	}
}

func TestACertificateIsReloaded(t *testing.T) {
	a := certtest.New(t)
	cert, key := a.Files()
	g := startReloaded(t, "tls: {cert: "+cert+", key: "+key+"}\nauth: {anonymous: {subscribe: a, publish: a}}\n", nil)
	serial := func() string {
		t.Helper()
		response, err := a.Client().Get(g.url + "/v1/ping")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.TLS.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	a.Issue(cert, key, 77, time.Now().Add(time.Hour))
	g.hangUp()
	g.said("the certificate was read again")
	if got := serial(); got == first || got != "77" {
		t.Errorf("the serial is %s, and was %s", got, first)
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.hangUp()
	g.said("the certificate is not reloaded", "tls.key")
	if got := serial(); got != "77" {
		t.Errorf("the serial is %s", got)
	}
}

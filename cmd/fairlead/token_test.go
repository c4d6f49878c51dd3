package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/auth"
)

// pkcs8 is a private key in PEM.
func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// grantOf is what a token grants to a gateway with the settings.
func grantOf(t *testing.T, token string, env []string, args ...string) *auth.Grant {
	t.Helper()
	var p program
	sources := &sources{args: args, env: environment(env)}
	if _, err := parse(&p, sources, stdio{}); err != nil {
		t.Fatal(err)
	}
	guard, err := p.Serve.openGuard(nil, sources.originOf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.close()
	grant, err := guard.verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// TestATokenIsGoodForTheGatewayWithTheSameSettings makes one with every kind of key, from every source.
func TestATokenIsGoodForTheGatewayWithTheSameSettings(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, public := newKeyPair(t)
	secret := strings.Repeat("0123456789", 4)
	for name, c := range map[string]struct {
		env, args []string
	}{
		"a secret":             {[]string{"FAIRLEAD_AUTH_SECRET=" + secret}, nil},
		"a secret in a file":   {nil, []string{"--auth-secret-file", writeFile(t, secret+"\n")}},
		"Ed25519":              {nil, []string{"--auth-keys", writeFile(t, private)}},
		"P-256":                {nil, []string{"--auth-keys", writeFile(t, pkcs8(t, ecKey))}},
		"RSA":                  {nil, []string{"--auth-keys", writeFile(t, pkcs8(t, rsaKey))}},
		"a JWK":                {nil, []string{"--auth-keys", writeFile(t, octKey("a"))}},
		"a set of JWKs":        {nil, []string{"--auth-keys", writeFile(t, `{"keys":[{"kty":"RSA","use":"enc"},`+octKey("a")+`,`+octKey("b")+`]}`)}},
		"a public key first":   {nil, []string{"--auth-keys", writeFile(t, public) + "," + writeFile(t, octKey("a"))}},
		"issuer and audiences": {[]string{"FAIRLEAD_AUTH_SECRET=" + secret}, []string{"--auth-issuer=me", "--auth-audience=you,them"}},
		"a file of settings":   {[]string{"FAIRLEAD_CONFIG=" + writeFile(t, "listen: 127.0.0.1:1\nauth: {secret: "+secret+", issuer: me}")}, nil},
	} {
		args := append([]string{"token", "--sub=ada", "--subscribe=chat.*", "--subscribe=news", "--publish=chat.42", "--ttl=2h"}, c.args...)
		got := runProgram(t, c.env, args...)
		if got.code != 0 || got.err != "" || strings.Count(got.out, "\n") != 1 {
			t.Fatalf("%s: got %+v", name, got)
		}
		grant := grantOf(t, strings.TrimSpace(got.out), c.env, append([]string{"serve"}, c.args...)...)
		if grant.Subject != "ada" || !grant.MaySubscribe("chat.1") || !grant.MaySubscribe("news") || !grant.MayPublish("chat.42") || grant.MayPublish("chat.1") {
			t.Errorf("%s: got %+v", name, grant)
		}
		if lasts := time.Until(grant.Expires); lasts < 119*time.Minute || lasts > 121*time.Minute { // with the skew
			t.Errorf("%s: lasts %s", name, lasts)
		}
	}
}

// TestTheEndOfALineIsNoPartOfASecret has the secret in a file and in a variable.
func TestTheEndOfALineIsNoPartOfASecret(t *testing.T) {
	const secret = "0123456789 0123456789 0123456789 0123456789"
	for _, end := range []string{"", "\n", "\r\n"} {
		got := runProgram(t, nil, "token", "--sub=ada", "--subscribe=a", "--auth-secret-file", writeFile(t, secret+end))
		if grant := grantOf(t, strings.TrimSpace(got.out), []string{"FAIRLEAD_AUTH_SECRET=" + secret}); grant.Subject != "ada" {
			t.Errorf("%q: got %+v", end, grant)
		}
	}
}

func TestMistakesOfToken(t *testing.T) {
	_, public := newKeyPair(t)
	secret := []string{"FAIRLEAD_AUTH_SECRET=" + strings.Repeat("0123456789", 4)}
	for name, c := range map[string]struct {
		env, args []string
		want      string
	}{
		"no key":           {nil, nil, "FAIRLEAD_AUTH_SECRET"},
		"a public key":     {nil, []string{"--auth-keys", writeFile(t, public)}, "private key"},
		"a JWKS":           {nil, []string{"--auth-jwks=https://a/b", "--auth-audience=a"}, "auth.jwks"},
		"a bad key":        {nil, []string{"--auth-keys", writeFile(t, "{}")}, "auth.keys"},
		"no pattern":       {secret, []string{"--publish=a..b"}, "empty token"},
		"no life":          {secret, []string{"--ttl=0s"}, "--ttl is 0s"},
		"a long life":      {secret, []string{"--ttl=1000h"}, "auth.max_lifetime"},
		"no name":          {secret, []string{"--sub= a"}, "subject"},
		"a slip":           {secret, []string{"--config", writeFile(t, "beats: 1s")}, "beats"},
		"another's, a bad": {secret, []string{"--config", writeFile(t, "auth: {grace: soon}")}, "auth.grace"},
	} {
		got := runProgram(t, c.env, append([]string{"token"}, c.args...)...)
		if got.code != 2 || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%s: got %+v, want %q", name, got, c.want)
		}
	}
	if got := runProgram(t, secret, "token"); got.code != 0 || !strings.Contains(got.err, "allows nothing") || strings.Count(got.out, ".") != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestAnAPIKeyIsGoodForTheGatewayThatHasItsEntry appends two entries to a file, as README.md does.
func TestAnAPIKeyIsGoodForTheGatewayThatHasItsEntry(t *testing.T) {
	backend := runProgram(t, nil, "api-key", "backend", "--publish=orders.>", "--publish=news")
	admin := runProgram(t, nil, "api-key", "admin: 'x'", "--manage=>", "--subscribe=>", "--presence=*")
	if backend.code != 0 || admin.code != 0 {
		t.Fatalf("got %+v, %+v", backend, admin)
	}
	path := writeFile(t, backend.err+admin.err)
	for _, key := range []outcome{backend, admin} {
		if !strings.HasPrefix(key.out, "fl_") || strings.Contains(key.err, strings.TrimSpace(key.out)) {
			t.Errorf("got %+v", key)
		}
	}
	grant := grantOf(t, strings.TrimSpace(backend.out), nil, "--auth-api-keys", path)
	if grant.APIKey != "backend" || !grant.MayPublish("orders.a.b") || !grant.MayPublish("news") || grant.MaySubscribe("news") || grant.MayManage("news") {
		t.Errorf("got %+v", grant)
	}
	grant = grantOf(t, strings.TrimSpace(admin.out), nil, "--auth-api-keys", path)
	if grant.APIKey != "admin: 'x'" || !grant.MayManage(">") || !grant.MaySubscribe("a.b") || grant.MayPublish("a") {
		t.Errorf("got %+v", grant)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "fl_") {
		t.Errorf("the file holds a key: %s, %v", text, err)
	}
}

// TestAPIKeysAreAppendedToTheirFile also makes the file, and refuses what would spoil it.
func TestAPIKeysAreAppendedToTheirFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api-keys.yaml")
	appended := func(name string) outcome {
		return runProgram(t, nil, "api-key", name, "--publish=orders.>", "--file", path)
	}
	for _, name := range []string{"one", "two"} {
		got := appended(name)
		if got.code != 0 || got.err != "" || !strings.HasPrefix(got.out, "fl_") {
			t.Fatalf("got %+v", got)
		}
		if grant := grantOf(t, strings.TrimSpace(got.out), nil, "--auth-api-keys", path); grant.APIKey != name {
			t.Errorf("got %+v", grant)
		}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := appended("two"); got.code != 2 || got.out != "" || !strings.Contains(got.err, `"two"`) {
		t.Errorf("a name twice: got %+v", got)
	}
	if err := os.WriteFile(path, before[:len(before)-1], 0o600); err != nil { // as an editor may leave it
		t.Fatal(err)
	}
	if got := appended("three"); got.code != 0 {
		t.Errorf("got %+v", got)
	}
	after, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(after), string(before)) || strings.Count(string(after), "name:") != 3 {
		t.Errorf("got %s, %v", after, err)
	}
	for name, text := range map[string]string{"no list": "a: b", "another list": "[]", "no hash": "- {name: a, hash: b, publish: [a]}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := appended("four")
		if now, err := os.ReadFile(path); got.code != 2 || got.out != "" || err != nil || string(now) != text {
			t.Errorf("%s: got %+v, and %s, %v", name, got, now, err)
		}
	}
	if got := runProgram(t, nil, "api-key", "a", "--publish=a", "--file", t.TempDir()); got.code != 2 || got.out != "" {
		t.Errorf("got %+v", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestMistakesOfAPIKey(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "<name>"},
		{[]string{"backend"}, "--publish"},
		{[]string{"backend", "--publish=a..b"}, "empty token"},
		{[]string{"backend", "--manage=a..b"}, "manage"},
		{[]string{" a", "--publish=a"}, "name"},
	} {
		if got := runProgram(t, nil, append([]string{"api-key"}, c.args...)...); got.code != 2 || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%v: got %+v, want %q", c.args, got, c.want)
		}
	}
}

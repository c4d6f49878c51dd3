package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// octKey is a secret as a JWK.
func octKey(id string) string {
	return fmt.Sprintf(`{"kty":"oct","alg":"HS256","kid":%q,"k":%q}`, id, base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(id, 32))))
}

// newKeyPair is a new Ed25519 key in PEM.
func newKeyPair(t *testing.T) (private, public string) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	inPEM := func(kind string, key any, marshal func(any) ([]byte, error)) string {
		der, err := marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return inPEM("PRIVATE KEY", privateKey, x509.MarshalPKCS8PrivateKey), inPEM("PUBLIC KEY", publicKey, x509.MarshalPKIXPublicKey)
}

// publicJWK is a public key in PEM as a JWK.
func publicJWK(t *testing.T, public string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(public))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	document, err := (&jose.JSONWebKey{Key: key, Algorithm: string(jose.EdDSA)}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// TestADoubtfulSecretInAFileIsLoggedAtTheStart makes a guard as the start and each reload do.
func TestADoubtfulSecretInAFileIsLoggedAtTheStart(t *testing.T) {
	var logs strings.Builder
	c := config{Auth: authConfig{SecretFile: writeFile(t, strings.Repeat("a", 36))}}
	guard, err := c.openGuard(nil, func(string) string { return "here" }, slog.New(slog.NewTextHandler(&logs, nil)))
	if err != nil {
		t.Fatal(err)
	}
	guard.close()
	if got := logs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "setting=auth.secret_file") || strings.Contains(got, "aaaa") {
		t.Errorf("logged %q", got)
	}
}

// Tokens of each key are good, in whichever file it is: to put the new key behind the old one is how keys are changed.
func TestAllKeysOfAFileCount(t *testing.T) {
	first, ours := newKeyPair(t)
	second, theirs := newKeyPair(t)
	_, verifying := newKeyPair(t)
	path := writeFile(t, ours+theirs)
	if got := runProgram(t, nil, "check-config", "--auth-keys", path, "--data", t.TempDir()); got.code != 0 {
		t.Fatalf("exit %d: %s%s", got.code, got.out, got.err)
	}
	url, _ := serveHere(t, "--auth-keys", path, "--data", t.TempDir())
	for name, private := range map[string]string{"the first": first, "the second": second} {
		token := runProgram(t, nil, "token", "--auth-keys", writeFile(t, private), "--publish=a")
		got := runProgram(t, nil, "pub", "a", "x", "--url", url, "--token-file", writeFile(t, token.out))
		if got.code != 0 {
			t.Errorf("%s: exit %d: %s%s", name, got.code, got.out, got.err)
		}
	}
	path = writeFile(t, ours+theirs+verifying[:40])
	if got := runProgram(t, nil, "check-config", "--auth-keys", path, "--data", t.TempDir()); got.code != 2 || !strings.Contains(got.out+got.err, "auth.keys") || !strings.Contains(got.out+got.err, "damaged") {
		t.Errorf("half a key: exit %d: %s%s", got.code, got.out, got.err)
	}
}

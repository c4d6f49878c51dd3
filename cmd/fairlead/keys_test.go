package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
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

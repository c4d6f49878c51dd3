package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestEachKindOfKeyHasOneAlgorithm(t *testing.T) {
	for algorithm, k := range pairs() {
		if algorithm == HS256 {
			continue
		}
		read, err := PEMKey("k1", algorithm, publicPEM(t, k))
		if err != nil || read.Algorithm != algorithm || read.private != nil || read.ID != "k1" {
			t.Errorf("%s: got %v, %v", algorithm, read, err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			t.Fatal(err)
		}
		secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if read, err := PEMKey("", "", append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), secret...)); err != nil || read.Algorithm != algorithm || read.private == nil {
			t.Errorf("%s: got %v, %v", algorithm, read, err)
		}
		for _, other := range []Algorithm{HS256, RS256, ES256, EdDSA, "none", "RS512"} {
			if _, err := PEMKey("", other, secret); other != algorithm && err == nil {
				t.Errorf("a key for %s may be used for %s", algorithm, other)
			}
		}
	}
}

func TestJWKs(t *testing.T) {
	for algorithm, k := range pairs() {
		for _, c := range []struct {
			alg, use string
			want     bool
		}{{string(algorithm), "sig", true}, {"", "", true}, {"", "enc", false}, {"PS256", "", false}, {"none", "", false}} {
			document, err := json.Marshal(jose.JSONWebKey{Key: k.private, KeyID: "k1", Algorithm: c.alg, Use: c.use})
			if err != nil {
				t.Fatal(err)
			}
			if read, err := JWKKey(document); (err == nil) != c.want || err == nil && (read.Algorithm != algorithm || read.ID != "k1") {
				t.Errorf("%s %+v: got %v, %v", algorithm, c, read, err)
			}
		}
	}
}

func TestWeakAndWrongKeysAreRefused(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	short, _ := rsa.GenerateKey(rand.Reader, 1024)
	for name, try := range map[string]func() error{
		"a short secret":      func() error { _, err := SecretKey("", make([]byte, 31)); return err },
		"a public key as one": func() error { _, err := SecretKey("", publicPEM(t, pairs()[RS256])); return err },
		"a short RSA key":     func() error { _, err := newKey("", "", short); return err },
		"a huge RSA key": func() error {
			_, err := newKey("", "", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), maxRSABits), E: 65537})
			return err
		},
		"another curve":         func() error { _, err := newKey("", "", p384); return err },
		"no key":                func() error { _, err := newKey("", "", nil); return err },
		"no PEM":                func() error { _, err := PEMKey("", "", []byte("hello")); return err },
		"garbage in PEM":        func() error { _, err := PEMKey("", "", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"})); return err },
		"a JWK that is none":    func() error { _, err := JWKKey([]byte(`{"kty":"oct"}`)); return err },
		"a JWK that is garbage": func() error { _, err := JWKKey([]byte(`[[[[`)); return err },
	} {
		if try() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	secret := bytes.Repeat([]byte("hunter2!"), 4)
	k, err := SecretKey("k1", secret)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "key", k, "in", struct{ K Key }{k})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", k, "in", []Key{k})
	out := fmt.Sprintf("%v %+v %#v %s %x %q %d", k, k, k, k, k, &k, []Key{k}) + log.String()
	for _, form := range []string{"hunter2", fmt.Sprintf("%x", secret[:8]), fmt.Sprintf("%d", secret[:4])[1:12]} {
		if strings.Contains(out, form) {
			t.Errorf("got %s", out)
		}
	}
	if !strings.Contains(out, `HS256 key "k1"`) {
		t.Errorf("got %s", out)
	}
}

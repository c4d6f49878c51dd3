package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestEachKindOfKeyHasOneAlgorithm(t *testing.T) {
	for algorithm, k := range pairs() {
		if algorithm == HS256 {
			continue
		}
		read, err := PEMKeys(publicPEM(t, k))
		if err != nil || len(read) != 1 || read[0].Algorithm != algorithm || read[0].private != nil || read[0].ID != "" {
			t.Errorf("%s: got %v, %v", algorithm, read, err)
		}
		if read, err := PEMKeys([]byte(ecParameters + string(privatePEM(t, k)))); err != nil || len(read) != 1 || read[0].Algorithm != algorithm || read[0].private == nil {
			t.Errorf("%s: got %v, %v", algorithm, read, err)
		}
		for _, other := range []Algorithm{HS256, RS256, ES256, EdDSA, "none", "RS512"} {
			if _, err := newKey("", other, k.private); other != algorithm && err == nil {
				t.Errorf("a key for %s may be used for %s", algorithm, other)
			}
		}
	}
}

// ecParameters is what openssl ecparam writes before a key.
const ecParameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

// To put one key after the other is how keys are changed without a gap.
func TestAllKeysOfAPEMFileCount(t *testing.T) {
	a, b := pairs()[EdDSA], pairs()[RS256]
	ours, theirs := string(publicPEM(t, a)), string(publicPEM(t, b))
	private := string(privatePEM(t, a))
	for name, c := range map[string]struct {
		file    string
		want    []Algorithm
		signers int
	}{
		"two":                          {ours + theirs, []Algorithm{EdDSA, RS256}, 0},
		"with text":                    {"the new one\n" + theirs + "\nthe old one:\n" + ours + "\n\n", []Algorithm{RS256, EdDSA}, 0},
		"with parameters":              {ecParameters + string(privatePEM(t, pairs()[ES256])) + ours, []Algorithm{ES256, EdDSA}, 1},
		"a key and its public part":    {private + ours + theirs, []Algorithm{EdDSA, RS256}, 1},
		"a public part and its key":    {ours + theirs + private, []Algorithm{EdDSA, RS256}, 1},
		"the same twice, of which one": {ours + ours, []Algorithm{EdDSA}, 0},
	} {
		keys, err := PEMKeys([]byte(c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []Algorithm
		signers := 0
		for _, k := range keys {
			got = append(got, k.Algorithm)
			if k.private != nil {
				signers++
			}
		}
		if !slices.Equal(got, c.want) || signers != c.signers {
			t.Errorf("%s: got %v, of which %d sign: want %v and %d", name, got, signers, c.want, c.signers)
		}
		v := verifier(t, Options{Keys: keys})
		for _, algorithm := range c.want {
			mustGrant(t, v, sign(t, pairs()[algorithm], good(nil), nil))
		}
	}
	for name, c := range map[string]struct{ file, says string }{
		"text after it":        {ours + "and more", "goes on after"},
		"half a key after it":  {ours + theirs[:len(theirs)-40], "damaged"},
		"half a key before it": {ours[:len(ours)-10] + "\n" + theirs, "damaged"},
		"on one line":          {strings.TrimSpace(ours) + theirs, "damaged"},
		"a certificate":        {ours + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", `"CERTIFICATE"`},
		"an encrypted key":     {ours + "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "ENCRYPTED"},
		"parameters alone":     {ecParameters, "no key"},
		"nothing":              {"", "no key in PEM"},
	} {
		if keys, err := PEMKeys([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.says) || keys != nil {
			t.Errorf("%s: got %v, %v, want an error with %q", name, keys, err, c.says)
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
		"no PEM":                func() error { _, err := PEMKeys([]byte("hello")); return err },
		"garbage in PEM":        func() error { _, err := PEMKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"})); return err },
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

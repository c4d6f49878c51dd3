package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// An Algorithm is how a token is signed (RFC 7518, section 3.1).
type Algorithm string

// The algorithms. A kind of key has exactly one, so that no key can be used in a
// way that it was not made for.
const (
	HS256 Algorithm = "HS256" // a secret
	RS256 Algorithm = "RS256" // RSA
	ES256 Algorithm = "ES256" // ECDSA with P-256
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// allowed is what go-jose may read; a key allows only its own.
var allowed = []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA}

// What a key must have at least, and what it may cost at most.
const (
	minSecretBytes = 32 // RFC 7518, section 3.2
	minRSABits     = 2048
	maxRSABits     = 8192
)

// A Key checks tokens, and signs them if its private part is known. It shows
// nothing of itself when it is printed.
type Key struct {
	ID        string // what a token's `kid` must be; empty: any
	Algorithm Algorithm

	public  any // a []byte for HS256
	private any // nil: it only checks
}

// Format prints the key's id and algorithm, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s key %q", k.Algorithm, k.ID) }

// SecretKey is a key for HS256. The secret is the bytes themselves, at least 32 of them.
func SecretKey(id string, secret []byte) (Key, error) {
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return Key{}, errors.New("auth: the secret is a PEM file: configure it as a PEM key, or everybody who has the public key can sign")
	}
	return newKey(id, HS256, bytes.Clone(secret))
}

// PEMKeys are the keys in a PEM file, public or private, in its order and without
// ids. A key and its public part are one key. Text may stand before a block
// (RFC 7468, section 2), but nothing is passed over that may be meant for a key.
func PEMKeys(file []byte) (keys []Key, err error) {
	blocks, rest := 0, file
	for block, after := pem.Decode(rest); block != nil; block, after = pem.Decode(rest) {
		rest = after
		if blocks++; block.Type == "EC PARAMETERS" {
			continue // which openssl writes before the key
		}
		k, err := pemKey(block)
		if err != nil {
			return nil, err
		}
		keys = join(keys, k)
	}
	switch {
	case len(keys) == 0 && !bytes.Contains(file, pemBegins):
		return nil, errors.New("auth: the file holds no key in PEM: export one, such as with openssl pkey -pubout")
	case bytes.Count(file, pemBegins) != blocks:
		return nil, errors.New("auth: the file holds a damaged PEM block, such as one without its END line: put each key into it as a whole, with its BEGIN and END on lines of their own")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("auth: the file goes on after its last key, with what is no PEM: take that out, or put it before a key if it is a remark")
	case len(keys) == 0:
		return nil, errors.New("auth: the file holds parameters and no key: add the key")
	}
	return keys, nil
}

var pemBegins = []byte("-----BEGIN ")

// pemKey is the key of one block.
func pemKey(block *pem.Block) (Key, error) {
	parse, known := pemKinds[block.Type]
	if !known {
		return Key{}, fmt.Errorf("auth: the file holds a block of the kind %.40q, which is no key that can be used here: take it out, or put the key in its place, such as by openssl pkey -pubout", block.Type)
	}
	material, err := parse(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("auth: read the %s: %w", block.Type, err)
	}
	return newKey("", "", material)
}

// join adds k, unless it is there. One that can sign takes the place of one that cannot.
func join(keys []Key, k Key) []Key {
	for i, other := range keys {
		if public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(other.public) {
			if other.private == nil {
				keys[i] = k
			}
			return keys
		}
	}
	return append(keys, k)
}

var pemKinds = map[string]func([]byte) (any, error){
	"PUBLIC KEY":      x509.ParsePKIXPublicKey,
	"PRIVATE KEY":     x509.ParsePKCS8PrivateKey,
	"RSA PUBLIC KEY":  func(b []byte) (any, error) { return x509.ParsePKCS1PublicKey(b) },
	"RSA PRIVATE KEY": func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
	"EC PRIVATE KEY":  func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
}

// JWKKey is a JSON Web Key (RFC 7517), public, private or secret, with its own kid.
func JWKKey(document []byte) (Key, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(document); err != nil {
		return Key{}, fmt.Errorf("auth: read the JWK: %w", err)
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return Key{}, fmt.Errorf("auth: the JWK %q is not for signatures: its use is %q", jwk.KeyID, jwk.Use)
	}
	return newKey(jwk.KeyID, Algorithm(jwk.Algorithm), jwk.Key)
}

// newKey is the key of the material, which must be for the algorithm if that is not empty.
func newKey(id string, algorithm Algorithm, material any) (Key, error) {
	k := Key{ID: id, public: material}
	if signer, ok := material.(crypto.Signer); ok {
		k.public, k.private = signer.Public(), signer
	}
	switch public := k.public.(type) {
	case []byte:
		if len(public) < minSecretBytes {
			return Key{}, fmt.Errorf("auth: the secret of key %q has %d bytes: at least %d are needed, such as from openssl rand -base64 32", id, len(public), minSecretBytes)
		}
		k.Algorithm, k.private = HS256, public
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return Key{}, fmt.Errorf("auth: the RSA key %q has %d bits: use one of %d to %d", id, bits, minRSABits, maxRSABits)
		}
		k.Algorithm = RS256
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("auth: the key %q is on the curve %s: ES256 needs P-256", id, public.Curve.Params().Name)
		}
		k.Algorithm = ES256
	case ed25519.PublicKey:
		k.Algorithm = EdDSA
	default:
		return Key{}, fmt.Errorf("auth: the key %q is a %T: use a secret, RSA, P-256 or Ed25519", id, material)
	}
	if algorithm != "" && algorithm != k.Algorithm {
		return Key{}, fmt.Errorf("auth: the key %q is for %s: it cannot be used for %q", id, k.Algorithm, algorithm)
	}
	return k, nil
}

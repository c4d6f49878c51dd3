package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fairlead/fairlead/gateway/auth"
)

// read is what the settings configure, with what is in the files that they
// name. What cannot be used is reported, and left out.
func (a *authConfig) read(r *report) auth.Options {
	o := auth.Options{
		Keys:        a.readKeys(r),
		JWKS:        a.JWKS,
		Issuer:      a.Issuer,
		Audience:    a.Audience,
		Skew:        a.Skew,
		MaxLifetime: a.MaxLifetime,
	}
	if o.Skew == 0 {
		o.Skew = -1 // none at all; 0 is the default
	}
	if a.APIKeys != "" {
		keys, err := readAPIKeys(a.APIKeys)
		if err != nil {
			r.wrong("auth.api_keys", "%s", plainly(err))
		}
		o.APIKeys = keys
	}
	if a.hasAnonymous() {
		o.Anonymous = &auth.Rights{Subscribe: a.Anonymous.Subscribe, Publish: a.Anonymous.Publish, Presence: a.Anonymous.Presence}
	}
	return o
}

// readKeys is the keys in the order of auth.secret, auth.secret_file and auth.keys.
func (a *authConfig) readKeys(r *report) (keys []auth.Key) {
	secret := func(key string, text []byte) {
		k, err := auth.SecretKey("", text)
		if err != nil {
			r.wrong(key, "%s", plainly(err))
			return
		}
		keys = append(keys, k)
	}
	if a.Secret != "" {
		secret("auth.secret", []byte(a.Secret))
	}
	if a.SecretFile != "" {
		if text, err := readFile(a.SecretFile); err != nil {
			r.wrong("auth.secret_file", "%v", err)
		} else if text = bytes.TrimRight(text, "\r\n"); len(text) < minSecretBytes { // lines end as editors and openssl leave them
			r.wrong("auth.secret_file", "it must hold a secret of at least %d bytes, such as from openssl rand -base64 32: it has %d bytes", minSecretBytes, len(text))
		} else {
			if distinctBytes(string(text)) < fewBytes {
				r.doubtful("auth.secret_file", guessable)
			}
			secret("auth.secret_file", text)
		}
	}
	for _, path := range a.Keys {
		text, err := readFile(path)
		if err == nil {
			var more []auth.Key
			more, err = parseKeys(text)
			keys = append(keys, more...)
		}
		if err != nil {
			r.wrong("auth.keys", "%s: %s", path, plainly(err))
		}
	}
	if len(keys) > 0 { // two may be mistaken for each other
		if err := tryVerifier(auth.Options{Keys: keys}); err != nil {
			r.wrong("auth.keys", "%s", plainly(err))
		}
	}
	return keys
}

// parseKeys is the keys of a file: those in PEM, a JWK, or a set of those.
func parseKeys(text []byte) ([]auth.Key, error) {
	text = bytes.TrimSpace(text)
	if !bytes.HasPrefix(text, []byte("{")) {
		if bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) && !bytes.Contains(text, []byte(" KEY-----")) {
			return nil, errors.New("it must hold a key, and holds a certificate: take the key out of it with openssl x509 -pubkey -noout -in certificate.pem")
		}
		if !bytes.Contains(text, []byte("-----BEGIN ")) {
			return nil, errors.New("it must hold a key in PEM or as a JWK; a secret belongs in auth.secret_file")
		}
		return auth.PEMKeys(text)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("it must be JSON: %w", err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	var keys []auth.Key
	for _, document := range set.Keys {
		var purpose struct {
			Use string `json:"use"`
		}
		if json.Unmarshal(document, &purpose) == nil && purpose.Use == "enc" {
			continue // sets hold keys to encrypt to as well
		}
		key, err := auth.JWKKey(document)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it must hold a key for signatures")
	}
	return keys, nil
}

// tryVerifier reports what is wrong with options that need nothing from elsewhere.
func tryVerifier(o auth.Options) error {
	v, err := auth.NewVerifier(o)
	if err == nil {
		v.Close()
	}
	return err
}

// maxFile is how large a file of keys may be, in bytes.
const maxFile = 1 << 20

// readFile is what is in a file that is no larger than keys are.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("it must be a file that can be read (%w)", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("it must be a file that can be read (%w)", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("it must be a file of at most %d bytes", maxFile)
	}
	return text, nil
}

// plainly is the error without the name of the package that it comes from.
func plainly(err error) string { return strings.TrimPrefix(err.Error(), "auth: ") }

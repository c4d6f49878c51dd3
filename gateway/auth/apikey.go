package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// apiKeyPrefix begins an API key, so that a scanner of secrets finds it, and no
// token, which begins with the base64 of a brace.
const apiKeyPrefix = "fl_"

// MaxAPIKeys is how many API keys there may be: each use looks at all.
const MaxAPIKeys = 256

// An APIKey is what the server knows of one: not the key itself.
type APIKey struct {
	Name   string // for people, logs and metrics
	Hash   string // as HashAPIKey makes it
	Rights Rights
	Manage []string // patterns of the channels that it may purge; `>` is also the right to revoke
}

// NewAPIKey makes a key of 256 random bits, which is shown once, to whoever is to use it.
func NewAPIKey() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return apiKeyPrefix + base64.RawURLEncoding.EncodeToString(random)
}

// HashAPIKey is what is kept of a key, its SHA-256 in hexadecimal. Nobody can go
// through 256 bits, so a slow hash would be of no more use.
func HashAPIKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

type apiKeys []hashedKey

type hashedKey struct {
	hash  [sha256.Size]byte
	grant *Grant
}

func newAPIKeys(configured []APIKey) (apiKeys, error) {
	if len(configured) > MaxAPIKeys {
		return nil, fmt.Errorf("auth: %d API keys: at most %d are allowed", len(configured), MaxAPIKeys)
	}
	keys, names, hashes := make(apiKeys, len(configured)), map[string]bool{}, map[string]string{}
	for i, k := range configured {
		if k.Name == "" || !isName(k.Name) || names[k.Name] {
			return nil, fmt.Errorf("auth: the API key %q needs a name of its own, so that people can tell it from the others", k.Name)
		}
		names[k.Name] = true
		sum, err := hex.DecodeString(k.Hash)
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("auth: the hash of the API key %q is not a SHA-256 in hexadecimal: is it the key itself? make one with fairlead api-key", k.Name)
		}
		if other, again := hashes[string(sum)]; again {
			return nil, fmt.Errorf("auth: the API keys %q and %q have the same hash, so nobody could tell whose rights count: take one of them out, or make another key with fairlead api-key", other, k.Name)
		}
		hashes[string(sum)] = k.Name
		if err := k.Rights.Check(); err != nil {
			return nil, fmt.Errorf("auth: the rights of the API key %q: %w", k.Name, err)
		}
		if err := checkPatterns("manage", k.Manage); err != nil {
			return nil, fmt.Errorf("auth: the rights of the API key %q: %w", k.Name, err)
		}
		keys[i] = hashedKey{[sha256.Size]byte(sum), &Grant{Rights: k.Rights, Source: FromAPIKey, Manage: k.Manage, APIKey: k.Name, KeyMark: markOf(sum)}}
	}
	return keys, nil
}

// markOf tells the hash from others, and is of no use for anything else.
func markOf(hash []byte) string {
	sum := sha256.Sum256(hash)
	return hex.EncodeToString(sum[:8])
}

// again is the grant that the key of g has now, or nil.
func (all apiKeys) again(g *Grant) *Grant {
	for i := range all {
		if all[i].grant.APIKey == g.APIKey && all[i].grant.KeyMark == g.KeyMark {
			return all[i].grant
		}
	}
	return nil
}

// find is the grant of a key. It takes as long for any that is of no use, and
// looks at the hash only, which who guesses cannot choose.
func (all apiKeys) find(key string) (*Grant, error) {
	sum := sha256.Sum256([]byte(key))
	var found *Grant
	for i := range all {
		if subtle.ConstantTimeCompare(sum[:], all[i].hash[:]) == 1 {
			found = all[i].grant
		}
	}
	if found == nil {
		return nil, refuse("the API key is not known here: check that its hash is configured")
	}
	return found, nil
}

package auth

import (
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// What a keyring may hold, and how many keys a token without a kid is tried on:
// each try costs as much as a signature, and anybody may ask for it.
const (
	maxKeys  = 100
	maxTries = 4
)

// A keyring is the keys at one time. It is never changed: other keys are another
// keyring, and what was found with this one does not count any more.
type keyring struct{ keys []Key }

// check reports what makes the keys ambiguous, or nil.
func (r *keyring) check() error {
	if len(r.keys) > maxKeys {
		return fmt.Errorf("auth: %d keys: at most %d are allowed", len(r.keys), maxKeys)
	}
	type name struct {
		id        string
		algorithm Algorithm
	}
	seen := map[name]int{}
	for _, k := range r.keys {
		n := name{k.ID, k.Algorithm}
		seen[n]++
		if k.ID != "" && seen[n] > 1 {
			return fmt.Errorf("auth: two %s keys have the id %q: give each its own", k.Algorithm, k.ID)
		}
		if seen[n] > maxTries {
			return fmt.Errorf("auth: %d %s keys have no id: at most %d may, so give them ids", seen[n], k.Algorithm, maxTries)
		}
	}
	return nil
}

var (
	errNoKey       = errors.New("no known key is meant")
	errNoFit       = errors.New("none of the keys that could be meant signed it")
	errManyKeys    = errors.New("too many keys could be meant")
	errNoSignature = errors.New("the key that is meant did not sign it")
)

// isUnknown tells whether another keyring may have the key.
func isUnknown(err error) bool { return errors.Is(err, errNoKey) || errors.Is(err, errNoFit) }

// open is the payload of a token that one of the keys signed; else one of the
// errors above.
func (r *keyring) open(token *jose.JSONWebSignature) ([]byte, error) {
	header := token.Signatures[0].Protected
	tries, named := 0, false
	for _, k := range r.keys {
		if string(k.Algorithm) != header.Algorithm || k.ID != "" && header.KeyID != "" && k.ID != header.KeyID {
			continue
		}
		if tries++; tries > maxTries {
			return nil, errManyKeys
		}
		named = named || k.ID != "" && k.ID == header.KeyID
		if payload, err := token.Verify(k.public); err == nil {
			return payload, nil
		}
	}
	switch {
	case named:
		return nil, errNoSignature
	case tries > 0: // which algorithms there are keys for without the token's id is all that this tells
		return nil, errNoFit
	default:
		return nil, errNoKey
	}
}

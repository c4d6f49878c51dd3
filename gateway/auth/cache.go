package auth

import (
	"crypto/sha256"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A cache remembers what tokens granted, by their SHA-256: the tokens themselves
// are not kept. What was found with other keys than those of now does not count.
// It says nothing of time: the grants do. Any number may use it at the same time.
type cache struct {
	grants *lru.Cache[[sha256.Size]byte, cached]
}

type cached struct {
	ring  *keyring
	grant *Grant
}

// newCache makes a cache of the size, which is more than 0.
func newCache(size int) *cache {
	grants, err := lru.New[[sha256.Size]byte, cached](max(size, 1))
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &cache{grants}
}

// find is the grant of a token that was checked with the keys of ring, or nil.
func (c *cache) find(sum [sha256.Size]byte, ring *keyring) *Grant {
	if found, ok := c.grants.Get(sum); ok && found.ring == ring {
		return found.grant
	}
	return nil
}

func (c *cache) add(sum [sha256.Size]byte, ring *keyring, g *Grant) {
	c.grants.Add(sum, cached{ring, g})
}

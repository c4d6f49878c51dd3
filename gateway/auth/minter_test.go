package auth

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestWhatIsMintedIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for algorithm, k := range pairs() {
			v := verifier(t, Options{Keys: []Key{named(k, "k1")}, Issuer: "me", Audience: []string{"here"}, Skew: -1})
			m, err := NewMinter(named(k, "k1"), "me", "here")
			if err != nil {
				t.Fatal(err)
			}
			token, err := m.Mint("ann", Rights{Subscribe: []string{"a.*"}}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := m.Mint("ann", Rights{}, time.Minute)
			g, other := mustGrant(t, v, token), mustGrant(t, v, again)
			if g.Subject != "ann" || !g.MaySubscribe("a.b") || g.TokenID == "" || g.TokenID == other.TokenID || !g.Issued.Equal(time.Now()) || !g.Expires.Equal(time.Now().Add(time.Minute)) {
				t.Errorf("%s: got %+v", algorithm, g)
			}
			time.Sleep(time.Minute)
			mustRefuse(t, v, token, protocol.Expired, "expired at")
		}
	})
}

func TestWhatCannotBeMinted(t *testing.T) {
	public, err := PEMKeys(publicPEM(t, pairs()[EdDSA]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewMinter(public[0], "", ""); err == nil {
		t.Error("a public key signs")
	}
	m, err := NewMinter(pairs()[EdDSA], "", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (string, error){
		"expired already": func() (string, error) { return m.Mint("ann", Rights{}, 0) },
		"a subject":       func() (string, error) { return m.Mint("a\nb", Rights{}, time.Hour) },
		"a long subject":  func() (string, error) { return m.Mint(strings.Repeat("a", 300), Rights{}, time.Hour) },
		"a pattern":       func() (string, error) { return m.Mint("ann", Rights{Publish: []string{"a b"}}, time.Hour) },
	} {
		if token, err := try(); err == nil {
			t.Errorf("%s: got %s", name, token)
		}
	}
}

package auth

import (
	"crypto/sha256"
	"strconv"
	"testing"
	"time"
)

// BenchmarkVerify is a token that was seen before, one that was not, and one that no key signed.
func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []Algorithm{EdDSA, ES256, RS256, HS256} {
		k := named(pairs()[algorithm], "k1")
		claims := good(object{"iss": "https://login.example.com/", "aud": "fairlead", "jti": "7f0c", "iat": time.Now().Unix(), "fairlead": object{"subscribe": []string{"chat.*", "news.>"}, "publish": []string{"chat.42"}}})
		v := verifier(b, Options{Keys: []Key{k}, Issuer: "https://login.example.com/", Audience: []string{"fairlead"}})
		token := sign(b, k, claims, object{"typ": "JWT"})
		b.Run("seen/"+string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("first/"+string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := v.read(b.Context(), token, sha256.Sum256([]byte(token))); err != nil {
					b.Fatal(err)
				}
			}
		})
		forged := token[:len(token)-8] + "AAAAAAAA"
		b.Run("forged/"+string(algorithm), func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Verify(b.Context(), forged); err == nil {
					b.Fatal("it got in")
				}
			}
		})
	}
}

func BenchmarkAPIKey(b *testing.B) {
	for _, n := range []int{1, MaxAPIKeys} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var keys []APIKey
			var last string
			for i := range n {
				last = NewAPIKey()
				keys = append(keys, APIKey{Name: strconv.Itoa(i), Hash: HashAPIKey(last)})
			}
			v := verifier(b, Options{APIKeys: keys})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), last); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMaySubscribe is the dearest of what a grant is asked: 100 patterns, of which none covers >.
func BenchmarkMaySubscribe(b *testing.B) {
	for _, n := range []int{1, MaxPatterns} {
		g := &Grant{}
		for i := range n {
			g.Subscribe = append(g.Subscribe, "chat."+strconv.Itoa(i)+".*")
		}
		for _, pattern := range []string{"chat.0.x", ">"} {
			b.Run(strconv.Itoa(n)+"/"+pattern, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = g.MaySubscribe(pattern)
				}
			})
		}
	}
}

func BenchmarkRevokedCheck(b *testing.B) {
	s, g := crowded(b), &Grant{Subject: "ann", TokenID: "7f0c", Issued: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Check(g, "s1"); err != nil {
			b.Fatal(err)
		}
	}
}

// crowded has 10,000 revocations of others.
func crowded(b *testing.B) *Revoked {
	s := &Revoked{}
	for i := range 10_000 {
		if err := s.Add(Revocation{TokenID: strconv.Itoa(i), At: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

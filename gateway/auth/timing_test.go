package auth

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Whoever guesses API keys and looks at the clock learns nothing. No test tells
// times apart that well on a busy machine, so these look at what is done:
// BenchmarkGuess shows the times.

// Two keys of one hash are both looked at, and the last one found: nothing ends the search.
func TestTheSearchForAnAPIKeyDoesNotEndEarly(t *testing.T) {
	const n = 10
	key := NewAPIKey()
	for first := range n {
		for last := first; last < n; last++ {
			var all apiKeys
			for i := range n {
				hash := HashAPIKey(strconv.Itoa(i))
				if i == first || i == last {
					hash = HashAPIKey(key)
				}
				one, err := newAPIKeys([]APIKey{{Name: strconv.Itoa(i), Hash: hash, Rights: Everything()}}) // which refuses two of one hash
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, one...)
			}
			if g, err := all.find(key); err != nil || g.APIKey != strconv.Itoa(last) {
				t.Fatalf("of %d and %d got %+v, %v", first, last, g, err)
			}
		}
	}
}

// What is done with each key is one comparison of hashes, by crypto/subtle, and
// a choice of what it found: the loop has no other way out, and no other condition.
func TestAPIKeysAreComparedInConstantTime(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "apikey.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var loop *ast.RangeStmt
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "find" {
			ast.Inspect(f, func(n ast.Node) bool {
				if found, ok := n.(*ast.RangeStmt); ok {
					loop = found
				}
				return true
			})
		}
	}
	if loop == nil {
		t.Fatal("apikey.go has no loop in find")
	}
	conditions, calls := 0, []string{}
	ast.Inspect(loop.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BranchStmt, *ast.ReturnStmt, *ast.SwitchStmt:
			t.Errorf("the loop has a %T", n)
		case *ast.IfStmt, *ast.BinaryExpr:
			conditions++ // the if, and its == 1
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok {
				calls = append(calls, fmt.Sprintf("%s.%s", f.X, f.Sel))
			} else {
				calls = append(calls, "another")
			}
		}
		return true
	})
	if got := strings.Join(calls, " "); conditions != 2 || got != "subtle.ConstantTimeCompare" {
		t.Errorf("the loop has %d conditions and comparisons, and the calls %q: want one comparison by crypto/subtle", conditions, got)
	}
}

// What a key, a ticket and a token are looked up by is a hash of theirs: who
// guesses cannot choose how much of it is right.
func TestNothingIsLookedUpByWhatWasGuessed(t *testing.T) {
	tickets := &MemoryTickets{}
	id := issue(t, &Tickets{Store: tickets}, &Grant{})
	for key := range tickets.kept {
		if key == id || !isHash(key) {
			t.Errorf("the ticket %s is kept as %s", id, key)
		}
	}
	key := NewAPIKey()
	all, err := newAPIKeys([]APIKey{{Name: "a", Hash: HashAPIKey(key), Rights: Everything()}})
	if err != nil || !isHash(HashAPIKey(key)) || strings.Contains(fmt.Sprintf("%+v %+v", all, *all[0].grant), key) {
		t.Errorf("the key %s is kept as %+v, %v", key, all, err)
	}
}

// isHash tells whether s is a SHA-256 in hexadecimal.
func isHash(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// BenchmarkGuess is a key that is right, and ones that are wrong in their first
// byte, in their last one, and as a whole: the times should be the same.
func BenchmarkGuess(b *testing.B) {
	var keys []APIKey
	var right []string
	for i := range MaxAPIKeys {
		right = append(right, NewAPIKey())
		keys = append(keys, APIKey{Name: strconv.Itoa(i), Hash: HashAPIKey(right[i])})
	}
	v := verifier(b, Options{APIKeys: keys})
	k := right[0]
	for _, guess := range []struct{ name, key string }{
		{"first key", k}, {"last key", right[MaxAPIKeys-1]}, {"wrong first byte", k[:3] + "!" + k[4:]}, {"wrong last byte", k[:len(k)-1] + "!"}, {"all wrong", "fl_" + strings.Repeat("!", len(k)-3)},
	} {
		b.Run(guess.name, func(b *testing.B) {
			for b.Loop() {
				_, _ = v.apiKeys.find(guess.key)
			}
		})
	}
}

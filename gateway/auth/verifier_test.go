package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/fairlead/fairlead/protocol"
)

func TestATokenOfEachAlgorithmIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for algorithm, k := range pairs() {
			v := verifier(t, Options{Keys: []Key{named(k, "k1")}, Issuer: "me", Audience: []string{"x", "y"}})
			exp := time.Now().Add(time.Hour)
			g := mustGrant(t, v, sign(t, named(k, "k1"), object{
				"iss": "me", "aud": []string{"y", "z"}, "sub": "ann", "jti": "t1", "iat": time.Now().Unix(), "exp": exp.Unix(),
				"fairlead": object{"subscribe": []string{"chat.*"}, "publish": []string{"chat.1"}, "presence": []string{">"}, "more": 1},
			}, object{"typ": "JWT"}))
			if g.Subject != "ann" || g.TokenID != "t1" || !g.Issued.Equal(time.Now()) || !g.Expires.Equal(exp.Add(30*time.Second)) {
				t.Errorf("%s: got %+v", algorithm, g)
			}
			if !g.MaySubscribe("chat.*") || g.MaySubscribe(">") || !g.MayPublish("chat.1") || g.MayPublish("chat.2") || !g.MaySeePresence("a") {
				t.Errorf("%s: got %+v", algorithm, g.Rights)
			}
		}
	})
}

func TestATokenWithoutAClaimOfRightsGrantsNothing(t *testing.T) {
	k := pairs()[EdDSA]
	v := verifier(t, Options{Keys: []Key{k}})
	for _, rights := range []any{nil, object{}, object{"subscribe": nil}, json.RawMessage("null")} {
		g := mustGrant(t, v, sign(t, k, good(object{"fairlead": rights}), nil))
		if g.MaySubscribe("a") || g.MayPublish("a") || g.MaySeePresence("a") || g.Subject != "ann" {
			t.Errorf("%v: got %+v", rights, g)
		}
	}
}

func TestAlgNoneIsRefused(t *testing.T) {
	v := verifier(t, Options{Keys: []Key{pairs()[RS256], pairs()[HS256], pairs()[EdDSA]}})
	payload, _ := json.Marshal(good(nil))
	for _, alg := range []string{`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `""`, `null`, `0`, `["HS256"]`, `"HS384"`, `"PS256"`, `"ES512"`, `"hs256"`} {
		for _, signature := range [][]byte{nil, {0}, make([]byte, 64)} {
			mustRefuse(t, v, forge(`{"alg":`+alg+`,"typ":"JWT"}`, string(payload), signature), protocol.Unauthorized, "signed with")
		}
	}
	mustRefuse(t, v, forge(`{"typ":"JWT"}`, string(payload), nil), protocol.Unauthorized, "signed with")
}

// The public key is public: who takes it for a secret lets everybody sign.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	for _, algorithm := range []Algorithm{RS256, ES256, EdDSA} {
		k := named(pairs()[algorithm], "k1")
		for says, v := range map[string]*Verifier{
			"no key that": verifier(t, Options{Keys: []Key{k}}),
			"fits no":     verifier(t, Options{Keys: []Key{k, pairs()[HS256]}}),
		} {
			file := publicPEM(t, k)
			jwk, _ := json.Marshal(jose.JSONWebKey{Key: k.public})
			for _, secret := range [][]byte{file, []byte(strings.TrimSpace(string(file))), jwk} {
				payload, _ := json.Marshal(good(nil))
				token := forge(`{"alg":"HS256","kid":"k1"}`, string(payload), nil)
				mac := hmac.New(sha256.New, secret)
				_, _ = mac.Write([]byte(strings.TrimSuffix(token, ".")))
				mustRefuse(t, v, token+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), protocol.Unauthorized, says)
			}
		}
	}
}

// A token may bring a key along; it is not looked at.
func TestAKeyInATokenIsNotBelieved(t *testing.T) {
	mine, theirs := pairs()[EdDSA], pairs()[ES256]
	v := verifier(t, Options{Keys: []Key{mine}})
	for _, header := range []object{
		{"jwk": jose.JSONWebKey{Key: theirs.public}},
		{"jku": "http://127.0.0.1:1/keys"},
		{"x5u": "http://127.0.0.1:1/keys"},
	} {
		mustRefuse(t, v, sign(t, theirs, good(nil), header), protocol.Unauthorized, "no key")
	}
}

func TestAChangedTokenIsRefused(t *testing.T) {
	for _, k := range pairs() {
		k := named(k, "k1")
		v := verifier(t, Options{Keys: []Key{k}})
		token := sign(t, k, good(nil), nil)
		parts := strings.Split(token, ".")
		more, _ := json.Marshal(good(object{"fairlead": Everything()}))
		for _, changed := range []string{
			parts[0] + "." + base64.RawURLEncoding.EncodeToString(more) + "." + parts[2],
			parts[0] + "." + parts[1] + ".",
			parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		} {
			mustRefuse(t, v, changed, protocol.Unauthorized, "signature is wrong")
		}
		for _, broken := range []string{parts[0], parts[0] + "." + parts[1], token + ".x", "." + token, token + "=", " " + token, token + "\n", parts[0] + "\r." + parts[1] + "." + parts[2], "..", "a.b.c", "\x00", "{}", strings.Repeat(".", 8000)} {
			mustRefuse(t, v, broken, protocol.Unauthorized, "not a JWT")
		}
		mustGrant(t, v, token)
	}
}

func TestClaimsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := pairs()[EdDSA]
		v := verifier(t, Options{Keys: []Key{k}, Issuer: "me", Audience: []string{"here", "there"}})
		now := time.Now().Unix()
		many := strings.Fields(strings.Repeat("a ", 101))
		for name, c := range map[string]struct {
			change object
			code   protocol.Code
			says   string
		}{
			"expired":               {object{"exp": now - 31}, protocol.Expired, "expired at"},
			"expired just now":      {object{"exp": now - 30}, protocol.Expired, "get a new one"},
			"without an end":        {object{"exp": nil}, protocol.Unauthorized, "no exp"},
			"an end that is null":   {object{"exp": json.RawMessage("null")}, protocol.Unauthorized, "no exp"},
			"an end in words":       {object{"exp": "never"}, protocol.Unauthorized, "cannot be read"},
			"an end out of bounds":  {object{"exp": json.RawMessage("1e300")}, protocol.Unauthorized, "cannot be read"},
			"an end before time":    {object{"exp": json.RawMessage("-1e18")}, protocol.Unauthorized, "before 1970"},
			"valid before time":     {object{"nbf": json.RawMessage("-1e18")}, protocol.Unauthorized, "before 1970"},
			"issued before time":    {object{"iat": json.RawMessage("-1e18")}, protocol.Unauthorized, "before 1970"},
			"milliseconds":          {object{"exp": (now + 3600) * 1000}, protocol.Unauthorized, "milliseconds"},
			"too long":              {object{"exp": now + 31*24*3600}, protocol.Unauthorized, "lives longer than"},
			"too long since iat":    {object{"iat": now - 30*24*3600}, protocol.Unauthorized, "lives longer than"},
			"not yet valid":         {object{"nbf": now + 31}, protocol.Unauthorized, "not valid yet"},
			"issued in the future":  {object{"iat": now + 31}, protocol.Unauthorized, "not valid yet"},
			"wrong issuer":          {object{"iss": "you"}, protocol.Unauthorized, "iss"},
			"no issuer":             {object{"iss": nil}, protocol.Unauthorized, "iss"},
			"wrong audience":        {object{"aud": "elsewhere"}, protocol.Unauthorized, "aud"},
			"part of an audience":   {object{"aud": "her"}, protocol.Unauthorized, "aud"},
			"no audience":           {object{"aud": nil}, protocol.Unauthorized, "aud"},
			"an audience of things": {object{"aud": []any{1, "here"}}, protocol.Unauthorized, "cannot be read"},
			"a number as sub":       {object{"sub": 7}, protocol.Unauthorized, "cannot be read"},
			"a line break in sub":   {object{"sub": "ann\r\nFairlead-From: bob"}, protocol.Unauthorized, "sub"},
			"NUL in sub":            {object{"sub": "ann\x00"}, protocol.Unauthorized, "sub"},
			"spaces round sub":      {object{"sub": " ann"}, protocol.Unauthorized, "sub"},
			"a long sub":            {object{"sub": strings.Repeat("a", 257)}, protocol.Unauthorized, "sub"},
			"a long jti":            {object{"jti": strings.Repeat("a", 257)}, protocol.Unauthorized, "jti"},
			"a bad pattern":         {object{"fairlead": object{"subscribe": []string{"a.>.b"}}}, protocol.Unauthorized, `subscribe: the pattern "a.>.b"`},
			"an empty pattern":      {object{"fairlead": object{"publish": []string{""}}}, protocol.Unauthorized, "publish: the pattern is empty"},
			"many patterns":         {object{"fairlead": object{"presence": many}}, protocol.Unauthorized, "presence has 101 patterns"},
			"a pattern, no list":    {object{"fairlead": object{"subscribe": ">"}}, protocol.Unauthorized, "cannot be read"},
			"rights that are none":  {object{"fairlead": ">"}, protocol.Unauthorized, "cannot be read"},
			"deep JSON":             {object{"x": json.RawMessage(strings.Repeat("[", 2500) + strings.Repeat("]", 2500))}, "", ""},
			"in time by the skew":   {object{"exp": now - 29, "nbf": now + 30, "iat": now + 30, "aud": []string{"there"}}, "", ""},
		} {
			token := sign(t, k, good(merge(object{"iss": "me", "aud": "here"}, c.change)), nil)
			if c.code == "" {
				mustGrant(t, v, token)
				continue
			}
			t.Log(name) // before what it gets wrong
			mustRefuse(t, v, token, c.code, c.says)
		}
	})
}

func merge(a, b object) object {
	maps.Copy(a, b)
	return a
}

// What a decoder makes of a member that is there twice is anybody's guess.
func TestMembersThatAreThereTwiceAreRefused(t *testing.T) {
	k := pairs()[HS256]
	v := verifier(t, Options{Keys: []Key{k}})
	mustRefuse(t, v, sign(t, k, []byte(`{"exp":9999999999,"exp":1,"sub":"ann"}`), nil), protocol.Unauthorized, "cannot be read")
	mustRefuse(t, v, sign(t, k, []byte(`{"EXP":9999999999,"sub":"ann"}`), nil), protocol.Unauthorized, "no exp")
	for _, payload := range []string{``, `null`, `[]`, `"x"`, `{`, `{}{}`, strings.Repeat("[", 5000)} {
		if g, err := v.Verify(t.Context(), sign(t, k, []byte(payload), nil)); err == nil {
			t.Errorf("%.20s: got %+v", payload, g)
		}
	}
}

func TestTheHeaderIsChecked(t *testing.T) {
	k := named(pairs()[EdDSA], "k1")
	v := verifier(t, Options{Keys: []Key{k}})
	for _, typ := range []any{"JWT", "jwt", "at+jwt", "application/at+JWT"} {
		mustGrant(t, v, sign(t, k, good(nil), object{"typ": typ}))
	}
	for _, typ := range []any{"dpop+jwt", "logout+jwt", "JWE", "", 1} {
		mustRefuse(t, v, sign(t, k, good(nil), object{"typ": typ}), protocol.Unauthorized, "typ")
	}
	for _, crit := range []any{[]string{"exp"}, []string{"b64"}, []string{}} {
		mustRefuse(t, v, sign(t, k, good(nil), object{"crit": crit}), protocol.Unauthorized, "crit")
	}
	payload, _ := json.Marshal(good(nil))
	for _, header := range []string{
		`{"alg":"EdDSA","x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`,
		`{"alg":"EdDSA","kid":["k1"]}`, `{"alg":"EdDSA","kid":{}}`, `{"alg":"EdDSA","jwk":{"kty":"oct","k":"AA"}}`, `{"alg":"EdDSA","x5c":["AA=="]}`, `[]`, `null`, ``,
	} {
		mustRefuse(t, v, forge(header, string(payload), make([]byte, 64)), protocol.Unauthorized, "the token")
	}
}

func TestOversizedTokensAreRefusedUnread(t *testing.T) {
	k := pairs()[HS256]
	v := verifier(t, Options{Keys: []Key{k}})
	mustRefuse(t, v, sign(t, k, good(object{"x": strings.Repeat("x", 8<<10)}), nil), protocol.Unauthorized, "at most 8192")
	mustGrant(t, v, sign(t, k, good(object{"x": strings.Repeat("x", 4<<10)}), nil))
}

func TestTheRightKeyIsFound(t *testing.T) {
	a, b := named(pairs()[EdDSA], "a"), named(pairs()[ES256], "b")
	old, _ := SecretKey("", []byte(strings.Repeat("o", 32)))
	fresh, _ := SecretKey("", []byte(strings.Repeat("n", 32)))
	v := verifier(t, Options{Keys: []Key{a, b, old, fresh}})
	for _, k := range []Key{a, b, old, fresh, named(a, ""), named(old, "any")} {
		mustGrant(t, v, sign(t, k, good(nil), nil))
	}
	mustRefuse(t, v, sign(t, named(a, "b"), good(nil), nil), protocol.Unauthorized, "no key")
	mustRefuse(t, v, sign(t, named(a, "z"), good(nil), nil), protocol.Unauthorized, "no key")
	mustRefuse(t, v, sign(t, pairs()[RS256], good(nil), nil), protocol.Unauthorized, "no key")
	mustRefuse(t, v, sign(t, pairs()[HS256], good(nil), nil), protocol.Unauthorized, "fits no HS256 key")

	var several []Key
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		several = append(several, named(fresh, id))
	}
	other, _ := SecretKey("", []byte(strings.Repeat("x", 32)))
	mustRefuse(t, verifier(t, Options{Keys: several}), sign(t, other, good(nil), nil), protocol.Unauthorized, "which of several keys")
}

func TestOptionsThatAreRefused(t *testing.T) {
	k := pairs()[EdDSA]
	for name, options := range map[string]Options{
		"nothing":                 {},
		"the same id twice":       {Keys: []Key{named(k, "a"), named(k, "a")}},
		"many keys without ids":   {Keys: []Key{k, k, k, k, k}},
		"JWKS for everybody":      {JWKS: "https://keys.example/"},
		"JWKS in the open":        {JWKS: "http://keys.example/", Issuer: "me"},
		"JWKS that is no URL":     {JWKS: "keys", Issuer: "me"},
		"a key that is no hash":   {APIKeys: []APIKey{{Name: "a", Hash: NewAPIKey()}}},
		"a key without a name":    {APIKeys: []APIKey{{Hash: HashAPIKey("fl_a")}}},
		"a name twice":            {APIKeys: []APIKey{{Name: "a", Hash: HashAPIKey("fl_a")}, {Name: "a", Hash: HashAPIKey("fl_b")}}},
		"rights that are none":    {APIKeys: []APIKey{{Name: "a", Hash: HashAPIKey("fl_a"), Rights: Rights{Publish: []string{"a..b"}}}}},
		"anonymous with bad ones": {Anonymous: &Rights{Subscribe: []string{"*>"}}},
	} {
		if v, err := NewVerifier(options); err == nil {
			v.Close()
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestAnAudienceIsForSomebody(t *testing.T) {
	k := pairs()[EdDSA]
	v := verifier(t, Options{Keys: []Key{k}})
	mustRefuse(t, v, sign(t, k, good(object{"aud": "somebody else"}), nil), protocol.Unauthorized, "aud")
}

func TestWithoutAToken(t *testing.T) {
	k := pairs()[EdDSA]
	mustRefuse(t, verifier(t, Options{Keys: []Key{k}}), "", protocol.Unauthorized, "no token")
	v := verifier(t, Options{Keys: []Key{k}, Anonymous: &Rights{Subscribe: []string{"news.*"}}})
	if g := mustGrant(t, v, ""); !g.MaySubscribe("news.today") || g.MayPublish("news.today") || g.Subject != "" {
		t.Errorf("got %+v", g)
	}
	mustRefuse(t, v, "x", protocol.Unauthorized, "not a JWT") // a bad token is not none
}

func TestUnendingTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := pairs()[EdDSA]
		v := verifier(t, Options{Keys: []Key{k}, Unending: true})
		token := sign(t, k, good(object{"exp": nil}), nil)
		mustGrant(t, v, token)
		time.Sleep(1000 * time.Hour)
		mustGrant(t, v, token)
		if v.Longest() != 0 {
			t.Errorf("got %v", v.Longest())
		}
	})
}

// A token seen is not looked at again; but it still ends.
func TestATokenSeenStillEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := pairs()[EdDSA]
		v := verifier(t, Options{Keys: []Key{k}, Skew: -1})
		token := sign(t, k, good(object{"jti": "1"}), nil)
		if first := mustGrant(t, v, token); mustGrant(t, v, token) != first {
			t.Error("a token seen is looked at again")
		}
		time.Sleep(time.Hour - time.Nanosecond)
		mustGrant(t, v, token)
		time.Sleep(time.Nanosecond)
		mustRefuse(t, v, token, protocol.Expired, "expired at")
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	k := pairs()[HS256]
	v := verifier(t, Options{Keys: []Key{k}, CacheSize: 10})
	for i := range 100 {
		mustGrant(t, v, sign(t, k, good(object{"n": i}), nil))
	}
	if got := v.seen.grants.Len(); got != 10 {
		t.Errorf("got %d tokens, want 10", got)
	}
}

func TestChallenges(t *testing.T) {
	k := pairs()[EdDSA]
	v := verifier(t, Options{Keys: []Key{k}})
	_, none := v.Verify(t.Context(), "")
	_, old := v.Verify(t.Context(), sign(t, k, good(object{"exp": 1000}), nil))
	for _, c := range []struct {
		err  error
		want string
	}{
		{none, `Bearer realm="fairlead"`},
		{old, `Bearer realm="fairlead", error="invalid_token", error_description="the token expired at 1970-01-01T00:17:10Z: get a new one"`},
		{refuse("a \"b\" \\ \r\n ü"), `Bearer realm="fairlead", error="invalid_token", error_description="a 'b' ? ?? ?"`},
		{protocol.Errorf(protocol.Forbidden, "not that"), `Bearer realm="fairlead", error="insufficient_scope"`},
		{protocol.Errorf(protocol.NotFound, "x"), ""},
	} {
		if got := Challenge(protocol.ErrorFrom(c.err)); got != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.err, got, c.want)
		}
	}
}

func TestARevocationHitsATokenOfAnIssuerWhoseClockIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := pairs()[EdDSA]
		v := verifier(t, Options{Keys: []Key{k}})
		g := mustGrant(t, v, sign(t, k, good(object{"iat": time.Now().Add(25 * time.Second).Unix()}), nil))
		time.Sleep(10 * time.Second)
		if !(Revocation{Subject: "ann", At: time.Now()}).Takes(g, "") {
			t.Errorf("it was issued at %v, and now is %v", g.Issued, time.Now())
		}
		mustRefuse(t, v, sign(t, k, good(object{"iat": nil}), nil), protocol.Unauthorized, "iat")
	})
}

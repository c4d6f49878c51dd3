package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/auth"
)

// Whatever a file of keys holds, what comes of it can be used.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	f.Add([]byte(`{"keys":[{"use":"enc"},{"kty":"oct","k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}`))
	f.Add([]byte(" {\"keys\":null}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err != nil {
			return
		}
		if len(keys) == 0 {
			t.Fatal("got no key, and no error")
		}
		if err := tryVerifier(auth.Options{Keys: keys[:1]}); err != nil {
			t.Errorf("got %v, which is no good: %v", keys[0], err)
		}
	})
}

// Whatever a file of API keys holds, a key that stands where its hash should is not shown.
func FuzzAPIKeyFile(f *testing.F) {
	const key = "fl_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfG"
	f.Add("- name: shop\n  publish: [\"orders.>\"]\n  hash: ", "")
	f.Add("- name: shop\n  manage: [a..b]\n  hash: \"", "\"\n")
	f.Add("- {name: shop, subscribe: [a], hash: ", "}\n- &a {name: *a}")
	f.Add("hash: [", "]\n? x")
	f.Add("!", " 00")         // the library panics
	f.Add(">hash: ", "X\x84") // the library quotes the line
	path := filepath.Join(f.TempDir(), "keys.yaml")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, hash := range []string{auth.HashAPIKey(key), key} {
			if err := os.WriteFile(path, []byte(before+hash+after), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := readAPIKeys(path)
			if err == nil && len(keys) == 0 {
				t.Error("got no key, and no error")
			}
			if err != nil && strings.HasSuffix(before, "hash: ") && strings.Contains(err.Error(), key[:longQuote]) {
				t.Errorf("%q shows the key: %v", before+hash+after, err)
			}
		}
	})
}

// Whatever a setting says, it is taken, or the error says which it was.
func FuzzSetting(f *testing.F) {
	keys := settingKeys()
	values := []string{ // some right for each setting, and some that contradict what others are by default
		"1s", "200h", "1KiB", "1TiB", "5", "10.0.0.0/8,::1", ":0", "https://a.example", "nats://a.example",
		"rt.example.com", "ops@example.com", "true", "always", "chat.*,>", "***",
	}
	for i, value := range values {
		f.Add(uint(i), value)
	}
	f.Add(uint(slices.Index(keys, "acme.domains")), "rt.example.com")
	f.Fuzz(func(t *testing.T, which uint, value string) {
		key := keys[which%uint(len(keys))]
		flag := "--" + strings.NewReplacer(".", "-", "_", "-").Replace(key)
		got := runProgram(t, nil, "serve", "--print-config", flag+"="+value)
		if got.code != 0 && !strings.Contains(got.err, key) && !strings.Contains(got.err, flag) {
			t.Errorf("%s=%q: exit %d, and the error does not say which it was: %q", flag, value, got.code, got.err)
		}
	})
}

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bannerOf is what a gateway with the arguments would print.
func bannerOf(t *testing.T, env []string, args ...string) string {
	t.Helper()
	var p program
	sources := &sources{args: append([]string{"serve"}, args...), env: environment(env)}
	if _, err := parse(&p, sources, stdio{}); err != nil {
		t.Fatal(err)
	}
	guard, err := p.Serve.openGuard(nil, sources.originOf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.close()
	return p.Serve.banner(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, guard.options.Keys, sources)
}

// TestTheTokenOfTheBannerIsGoodForTheGateway types the line into a shell.
func TestTheTokenOfTheBannerIsGoodForTheGateway(t *testing.T) {
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	private, public := newKeyPair(t)
	secret := strings.Repeat("0123456789", 4)
	inFile := writeFile(t, secret)
	odd := filepath.Join(t.TempDir(), "it's a $(secret) file")
	if out, err := exec.Command("cp", inFile, odd).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inEnv := []string{"FAIRLEAD_AUTH_SECRET=" + secret}
	for name, c := range map[string]struct {
		env   []string // the gateway's
		shell []string // where the line is typed
		args  []string
	}{
		"a file":                  {nil, nil, []string{"--auth-secret-file", inFile}},
		"a file with an odd name": {nil, nil, []string{"--auth-secret-file", odd}},
		"a file by its variable":  {[]string{"FAIRLEAD_AUTH_SECRET_FILE=" + inFile}, nil, nil},
		"a variable":              {inEnv, inEnv, nil},
		"a flag":                  {nil, inEnv, []string{"--auth-secret", secret}},
		"a key":                   {nil, nil, []string{"--auth-keys", writeFile(t, public) + "," + writeFile(t, private)}},
		"a name and listeners":    {nil, nil, []string{"--auth-secret-file", inFile, "--auth-issuer", "me too", "--auth-audience=you,them"}},
		"a short life":            {nil, nil, []string{"--auth-secret-file", inFile, "--auth-max-lifetime=90s"}},
		"settings in a file":      {nil, nil, []string{"--config", writeFile(t, "auth: {secret: "+secret+", issuer: me}")}},
		"settings of all kinds":   {[]string{"FAIRLEAD_CONFIG=" + writeFile(t, "auth: {secret: "+secret+", issuer: me}"), "FAIRLEAD_AUTH_ISSUER=you"}, nil, []string{"--auth-audience=a"}},
	} {
		banner := bannerOf(t, c.env, c.args...)
		_, line, _ := strings.Cut(banner, "  TOKEN=")
		line, _, _ = strings.Cut(line, "\n")
		shell := exec.CommandContext(t.Context(), "sh", "-c", "TOKEN="+line+"\nprintf %s \"$TOKEN\"")
		shell.Env = append(c.shell, "PATH="+filepath.Dir(program)+":/usr/bin:/bin")
		out, err := shell.CombinedOutput()
		if err != nil || strings.Count(string(out), ".") != 2 {
			t.Errorf("%s: got %v: %s, in\n%s", name, err, out, banner)
			continue
		}
		grant := grantOf(t, string(out), c.env, append([]string{"serve"}, c.args...)...)
		if !grant.MaySubscribe("chat.42") || !grant.MayPublish("chat.42") || !grant.MaySubscribe("demo.harbour") || !grant.MayPublish("demo.harbour") {
			t.Errorf("%s: got %+v", name, grant)
		}
		if strings.Contains(banner, secret) {
			t.Errorf("%s: it shows the secret", name)
		}
	}
}

// TestTheBannerOffersOnlyWhatWorks looks at its lines for gateways that differ in who may come in.
func TestTheBannerOffersOnlyWhatWorks(t *testing.T) {
	_, public := newKeyPair(t)
	keys := runProgram(t, nil, "api-key", "backend", "--publish=chat.*").err
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[%s]}`, publicJWK(t, public))
	}))
	defer jwks.Close()
	const (
		demo    = "  open http://127.0.0.1:1/ # the demo"
		stream  = "/v1/attach?channel=chat.42"
		publish = "/v1/channels/chat.42/messages"
		bearer  = "Bearer $TOKEN"
	)
	for name, c := range map[string]struct {
		args       []string
		want, lack []string
	}{
		"open":              {nil, []string{"open", demo, stream, publish}, []string{"TOKEN"}},
		"a public key":      {[]string{"--auth-keys", writeFile(t, public)}, []string{demo, "with a token", stream, publish, bearer}, []string{"TOKEN="}},
		"a JWKS":            {[]string{"--auth-jwks", jwks.URL, "--auth-issuer=me"}, []string{demo, "with a token", stream, publish, bearer}, []string{"TOKEN="}},
		"API keys":          {[]string{"--auth-api-keys", writeFile(t, keys)}, []string{"API key", stream, publish, bearer}, []string{"TOKEN="}},
		"anybody reads":     {[]string{"--auth-anonymous-subscribe=news.*.>"}, []string{"attach?channel=news.42.42"}, []string{"TOKEN", publish, "demo", "/messages"}},
		"anybody writes":    {[]string{"--auth-anonymous-publish=in"}, []string{"/v1/channels/in/messages"}, []string{"TOKEN", "demo", "attach"}},
		"anybody, and some": {[]string{"--auth-anonymous-publish=in", "--auth-keys", writeFile(t, public)}, []string{stream, publish, bearer}, []string{"TOKEN="}},
	} {
		banner := bannerOf(t, nil, c.args...)
		for _, want := range c.want {
			if !strings.Contains(banner, want) {
				t.Errorf("%s: no %q in\n%s", name, want, banner)
			}
		}
		for _, lack := range c.lack {
			if strings.Contains(banner, lack) {
				t.Errorf("%s: there is %q in\n%s", name, lack, banner)
			}
		}
	}
}

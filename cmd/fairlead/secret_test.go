package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestASecretIsNotShownHoweverItIsPrinted(t *testing.T) {
	const text = "correct horse battery staple, twice over"
	holder := struct{ Secret secret }{text}
	var logged bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(handler).Info("x", "secret", holder.Secret, "holder", holder, "config", &config{Auth: authConfig{Secret: text}})
	}
	asJSON, jsonErr := json.Marshal(holder)
	asYAML, yamlErr := yaml.Marshal(holder)
	if jsonErr != nil || yamlErr != nil {
		t.Fatal(jsonErr, yamlErr)
	}
	all := &logged
	all.Write(asJSON)
	all.Write(asYAML)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{holder.Secret, holder, &holder} {
			fmt.Fprintf(all, verb, value)
		}
	}
	for _, part := range []string{"horse", fmt.Sprintf("%x", "horse"), fmt.Sprintf("%X", "horse")} {
		if strings.Contains(all.String(), part) {
			t.Errorf("shows %s in\n%s", part, all)
		}
	}
	if got := holder.Secret.String() + secret("").String(); got != hidden {
		t.Errorf("got %q", got)
	}
}

func TestURLsAreShownWithoutWhatIsInThem(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"nats://a:4222":                     "nats://a:4222",
		"nats://u:p@a:1,tls://token@b":      "nats://xxxxx@a:1,tls://xxxxx@b",
		"https://a/k?key=p#p":               "https://a/k?xxxxx",
		"p@a:b:c":                           hidden,
		"nats://u:p%zz@a":                   hidden,
		"nats://a, nats://u:p@b , nats://c": "nats://a,nats://xxxxx@b,nats://c",
	} {
		if got := shownURLs(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// TestMistakesDoNotShowSecrets makes mistakes with a secret in each place where it could stand.
func TestMistakesDoNotShowSecrets(t *testing.T) {
	const text = "hunter2"
	long := strings.Repeat(text, 5)
	for name, c := range map[string]struct {
		file      string
		env, args []string
	}{
		"too short, flag":       {args: []string{"--auth-secret=" + text}},
		"too short, variable":   {env: []string{"FAIRLEAD_AUTH_SECRET=" + text}},
		"too short, file":       {file: "auth: {secret: " + text + "}"},
		"a slip, flag":          {args: []string{"--auth-secrets=" + text}},
		"a slip, variable":      {env: []string{"FAIRLEAD_AUTH_SECRTE=" + text}},
		"a slip, file":          {file: "auth:\n  secert: " + text},
		"a slip in the section": {file: "auht:\n  secret: " + text},
		"no section":            {file: "auth: " + text},
		"a block":               {file: "auth:\n  secret: |\n    " + text},
		"bad YAML":              {file: "auth:\n  secret: '" + text},
		"bad YAML in a line":    {file: "auth: {secret: " + text + ", [}"},
		"a list":                {file: "auth:\n  secret: [{a: " + text + "}]"},
		"another mistake":       {args: []string{"--auth-secret=" + long, "--beat=1"}},
		"a contradiction":       {args: []string{"--auth-secret=" + long, "--stream-replicas=2"}},
		"a doubt":               {args: []string{"check-config", "--auth-secret=" + long}},
		"a PEM file":            {args: []string{"check-config", "--auth-secret=-----BEGIN PRIVATE KEY-----\n" + long}},
		"the NATS' password":    {args: []string{"--nats=http://u:" + text + "@a"}},
		"the JWKS' key":         {args: []string{"--auth-jwks=http://a/?k=" + text}},
		"a JWKS for anybody":    {args: []string{"--auth-jwks=https://a/?k=" + text}},
		"print":                 {args: []string{"--print-config", "--auth-secret=" + long, "--nats=nats://u:" + text + "@a"}},
	} {
		args := c.args
		if c.file != "" {
			args = append(args, "--config", writeFile(t, c.file))
		}
		got := runProgram(t, c.env, args...)
		if all := got.out + got.err; strings.Contains(all, text) || all == "" {
			t.Errorf("%s: exit %d, shows\n%s", name, got.code, all)
		}
		if got.code != 2 && name != "a doubt" && name != "print" {
			t.Errorf("%s: exit %d", name, got.code)
		}
	}
}

// TestAPrintedConfigurationIsOfNoUseWithoutItsSecret reads what is printed back: nothing may be less safe for it.
func TestAPrintedConfigurationIsOfNoUseWithoutItsSecret(t *testing.T) {
	printed := runProgram(t, []string{"FAIRLEAD_AUTH_SECRET=" + strings.Repeat("s3cret", 6)}, "--print-config")
	if want := "secret: '***' # FAIRLEAD_AUTH_SECRET, and not shown"; printed.code != 0 || !strings.Contains(strings.ReplaceAll(printed.out, `"`, "'"), want) {
		t.Fatalf("exit %d, and no %q in\n%s", printed.code, want, printed.out)
	}
	again := runProgram(t, nil, "--print-config", "--config", writeFile(t, printed.out))
	if again.code != 2 || !strings.Contains(again.err, "auth.secret") {
		t.Errorf("got %+v", again)
	}
}

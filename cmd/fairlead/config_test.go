package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// outcome is what a run of the program left behind.
type outcome struct {
	out, err string
	code     int
}

// program runs the program with nothing on stdin.
func runProgram(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, env, stdio{strings.NewReader(""), &out, &errs})
	return outcome{out.String(), errs.String(), exitCode(err)}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairlead.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// settings are what --print-config says, by key.
func settings(t *testing.T, env []string, args ...string) map[string]string {
	t.Helper()
	got := runProgram(t, env, slices.Concat(args, []string{"--print-config"})...)
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.err)
	}
	file, mistakes := parseFile("printed", []byte(got.out), settingKeys())
	if len(mistakes) > 0 {
		t.Fatalf("%v in:\n%s", mistakes, got.out)
	}
	values := make(map[string]string)
	for key, value := range file {
		values[key] = value.text
	}
	return values
}

// samples are a valid value for each setting, other than its default, for each of the sources.
var samples = map[string][3]string{ // flag, variable, file
	"tls.cert":                        {"/a.pem", "/b.pem", "/c.pem"},
	"tls.key":                         {"/a.key", "/b.key", "/c.key"},
	"tls.hsts":                        {"1h", "2h", "3h"},
	"acme.domains":                    {"a.example.com", "b.example.com, c.example.com", "d.example.com"},
	"acme.email":                      {"a@example.com", "b@example.com", "c@example.com"},
	"acme.directory":                  {"https://a/", "https://b/", "https://c/"},
	"acme.accept_terms":               {"true", "true", "true"},
	"acme.cache":                      {"/a", "/b", "/c"},
	"limits.connections":              {"3", "1", "2"},
	"listen":                          {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"},
	"data":                            {"/a", "/b", "/c"},
	"nats":                            {"nats://a:1", "nats://b:1,tls://c:2", "nats://c:1"},
	"stream.name":                     {"A", "B", "C"},
	"stream.prefix":                   {"a", "b.c", "c"},
	"stream.max_age":                  {"1h", "2h", "3h30m"},
	"stream.max_bytes":                {"2GiB", "3GiB", "4GiB"},
	"stream.dedupe":                   {"1m", "90s", "3m"},
	"stream.replicas":                 {"3", "4", "5"},
	"stream.sync":                     {"always", "always", "always"},
	"tail_bytes":                      {"1MiB", "2MiB", "1500000"},
	"catch_ups":                       {"1", "2", "3"},
	"disk_reserve":                    {"1MiB", "2MiB", "3MiB"},
	"beat":                            {"1s", "2s", "3s"},
	"drain":                           {"1s", "2s", "3s"},
	"limits.frame":                    {"1MiB", "2MiB", "3MiB"},
	"limits.batch":                    {"1MiB", "2MiB", "3MiB"},
	"limits.channels":                 {"1", "2", "3"},
	"limits.history":                  {"1", "2", "3"},
	"limits.wait":                     {"1s", "2s", "3s"},
	"limits.body_stall":               {"1s", "2s", "3s"},
	"limits.write_stall":              {"1s", "2s", "3s"},
	"limits.header":                   {"4KiB", "5KiB", "6KiB"},
	"limits.header_wait":              {"1s", "2s", "3s"},
	"limits.idle":                     {"1s", "3s", "4s"},
	"limits.fanout":                   {"1MiB", "2MiB", "3MiB"},
	"limits.attachments":              {"3", "1", "2"},
	"limits.attachments_per_ip":       {"3", "1", "2"},
	"limits.attaches":                 {"3", "1", "2"},
	"limits.attaches_per_ip":          {"3", "1", "2"},
	"limits.commands":                 {"3", "1", "2"},
	"limits.commands_per_ip":          {"3", "1", "2"},
	"limits.publishes":                {"3", "1", "2"},
	"limits.publish_bytes":            {"3MiB", "1MiB", "2MiB"},
	"limits.reads_per_ip":             {"3", "1", "2"},
	"limits.requests_per_ip":          {"3", "1", "2"},
	"limits.patterns_per_client":      {"3", "1", "2"},
	"limits.subscriptions_per_client": {"3", "1", "2"},
	"limits.uploads_per_client":       {"3", "1", "2"},
	"limits.pending":                  {"3MiB", "1MiB", "2MiB"},
	"limits.attachments_per_sub":      {"3", "1", "2"},
	"limits.guesses_per_ip":           {"3", "1", "2"},
	"limits.tickets":                  {"3", "1", "2"},
	"limits.bodies":                   {"64MiB", "32MiB", "48MiB"},
	"limits.connections_per_ip":       {"3", "1", "2"},
	"limits.publishes_per_sub":        {"3", "1", "2"},
	"limits.publish_bytes_per_sub":    {"3MiB", "1MiB", "2MiB"},
	"limits.catch_ups_per_client":     {"3", "1", "4"},
	"auth.secret":                     {strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)},
	"auth.secret_file":                {"/a", "/b", "/c"},
	"auth.keys":                       {"/a", "/b, /c", "/c"},
	"auth.jwks":                       {"https://a/k", "http://127.0.0.1:1/k", "https://c/k"},
	"auth.issuer":                     {"a", "b", "https://c/"},
	"auth.audience":                   {"a", "b, c", "c"},
	"auth.skew":                       {"0s", "1s", "2s"},
	"auth.max_lifetime":               {"1h", "2h", "3h"},
	"auth.grace":                      {"1s", "2s", "3s"},
	"auth.api_keys":                   {"/a", "/b", "/c"},
	"auth.anonymous.subscribe":        {"a.*", "b, c.>", "c"},
	"auth.anonymous.publish":          {"a.*", "b, c.>", "c"},
	"auth.anonymous.presence":         {"a.*", "b, c.>", "c"},
	"origins":                         {"https://a", "https://*.b.example, http://localhost:3000", "'*'"},
	"insecure":                        {"true", "true", "true"},
	"trusted_proxy":                   {"10.0.0.0/8", "192.0.2.7/32, 2001:db8::/32", "127.0.0.0/8"},
	"forwarded_header":                {"forwarded", "forwarded", "forwarded"},
	"proxy_protocol":                  {"true", "true", "true"},
	"log.level":                       {"debug", "warn", "error"},
	"log.format":                      {"json", "json", "json"},
}

// canonical is how a sample is printed.
func canonical(key, s string) string {
	if key == "auth.secret" {
		return hidden
	}
	s = strings.Trim(s, "'")
	if d, err := time.ParseDuration(s); err == nil {
		return formatDuration(d)
	}
	if s == "1500000" {
		return "1500KB"
	}
	return s
}

// TestFlagBeatsVariableBeatsFileBeatsDefault takes every setting through every source.
func TestFlagBeatsVariableBeatsFileBeatsDefault(t *testing.T) {
	defaults := settings(t, nil)
	keys := settingKeys()
	if len(defaults) != len(keys) || len(samples) != len(keys) {
		t.Fatalf("%d settings are printed and %d have samples, of %d", len(defaults), len(samples), len(keys))
	}
	for key, sample := range samples {
		file := writeFile(t, nest(key, sample[2]))
		flag := "--" + strings.NewReplacer(".", "-", "_", "-").Replace(key) + "=" + sample[0]
		variable := variableOfKey(key) + "=" + sample[1]
		base := []string{"--config", file}
		switch key {
		case "stream.replicas":
			base = append(base, "--nats=nats://a:1")
		case "proxy_protocol":
			base = append(base, "--trusted-proxy=10.0.0.1")
		case "auth.jwks":
			base = append(base, "--auth-issuer=a")
		case "tls.cert":
			base = append(base, "--tls-key=/key.pem")
		case "tls.key":
			base = append(base, "--tls-cert=/cert.pem")
		case "tls.hsts":
			base = append(base, "--tls-cert=/cert.pem", "--tls-key=/key.pem")
		case "acme.domains":
			base = append(base, "--acme-accept-terms")
		}
		for _, c := range []struct {
			source string
			env    []string
			args   []string
			want   string
		}{
			{"file", nil, base, sample[2]},
			{"variable", []string{variable}, base, sample[1]},
			{"flag", []string{variable}, append(base, flag), sample[0]},
		} {
			got := settings(t, c.env, c.args...)
			if got[key] != canonical(key, c.want) {
				t.Errorf("%s from its %s is %q, want %q", key, c.source, got[key], canonical(key, c.want))
			}
			if sample[0] != sample[1] && got[key] == defaults[key] {
				t.Errorf("%s from its %s is the default", key, c.source)
			}
		}
	}
}

// nest is a YAML file with one setting.
func nest(key, value string) string {
	head, tail, nested := strings.Cut(key, ".")
	if nested {
		return head + ":\n  " + tail + ": " + value + "\n"
	}
	return key + ": " + value + "\n"
}

func TestPrintedSettingsReadBackToTheSame(t *testing.T) {
	env := []string{"FAIRLEAD_STREAM_MAX_BYTES=1234567", "FAIRLEAD_NATS=nats://u:p@host:4222", "FAIRLEAD_DATA=./a: #b"}
	first := runProgram(t, env, "--beat=1m30s", "--print-config")
	second := runProgram(t, nil, "serve", "--print-config", "--config", writeFile(t, first.out))
	if first.code != 0 || second.code != 0 {
		t.Fatal(first.err, second.err)
	}
	var one, two map[string]any
	for text, into := range map[string]*map[string]any{first.out: &one, second.out: &two} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(one, two) {
		t.Errorf("got\n%s\nfrom\n%s", second.out, first.out)
	}
	if one["data"] != "./a: #b" || one["beat"] != "1m30s" {
		t.Errorf("got %v", one)
	}
	for _, want := range []string{"# FAIRLEAD_NATS", "# --beat", "# default"} {
		if !strings.Contains(first.out, want) {
			t.Errorf("there is no %q in\n%s", want, first.out)
		}
	}
}

func TestTheFileMayBeNamedByAVariable(t *testing.T) {
	path := writeFile(t, "beat: 9s")
	if got := settings(t, []string{"FAIRLEAD_CONFIG=" + path})["beat"]; got != "9s" {
		t.Errorf("beat is %s", got)
	}
	other := writeFile(t, "beat: 8s")
	if got := settings(t, []string{"FAIRLEAD_CONFIG=" + path}, "--config", other)["beat"]; got != "8s" {
		t.Errorf("beat is %s", got)
	}
	if got := settings(t, nil, "--config", writeFile(t, "# nothing\n"))["beat"]; got != "15s" {
		t.Errorf("beat is %s", got)
	}
}

// TestMistakesNameTheSettingTheValueTheSourceAndWhatIsAllowed goes through every kind of mistake.
func TestMistakesNameTheSettingTheValueTheSourceAndWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		name string
		file string
		env  []string
		args []string
		want []string
	}{
		{"duration, flag", "", nil, []string{"--stream-max-age=3x"}, []string{"stream.max_age", `"3x"`, "--stream-max-age", "duration", "24h"}},
		{"duration, variable", "", []string{"FAIRLEAD_BEAT=1"}, nil, []string{"beat", `"1"`, "FAIRLEAD_BEAT", "1s to 10m"}},
		{"size, file", "listen: :1\nstream:\n  max_bytes: 12XB", nil, nil, []string{"stream.max_bytes", `"12XB"`, "fairlead.yaml:3", "64KiB to"}},
		{"size too large", "", nil, []string{"--tail-bytes=9999999TiB"}, []string{"tail_bytes", `"9999999TiB"`, "1TiB"}},
		{"number", "catch_ups: some", nil, nil, []string{"catch_ups", `"some"`, "fairlead.yaml:1", "1 to 256"}},
		{"out of bounds", "", nil, []string{"--limits-channels", "1001"}, []string{"limits.channels", `"1001"`, "1 to 1000"}},
		{"one of", "log: {level: loud}", nil, nil, []string{"log.level", `"loud"`, "fairlead.yaml:1", "debug or info or warn or error"}},
		{"address", "", []string{"FAIRLEAD_LISTEN=8080"}, nil, []string{"listen", `"8080"`, "FAIRLEAD_LISTEN", "host:port"}},
		{"port", "", nil, []string{"--listen=:65536"}, []string{"listen", `":65536"`, "0 to 65535"}},
		{"directory", "", nil, []string{"--data="}, []string{"data", `""`, "--data", "directory"}},
		{"NATS", "nats: http://a", nil, nil, []string{"nats", `"http://a"`, "nats://"}},
		{"stream", "", nil, []string{"--stream-name=a.b"}, []string{"stream.name", `"a.b"`, "A-Z"}},
		{"prefix", "", nil, []string{"--stream-prefix=>"}, []string{"stream.prefix", `">"`, "tokens"}},
		{"no setting, file", "stream:\n  max_byte: 12", nil, nil, []string{"stream.max_byte,", "fairlead.yaml:2", "mean stream.max_bytes?"}},
		{"no section", "streams:\n  name: A", nil, nil, []string{"streams,", "fairlead.yaml:1", "--help"}},
		{"no setting, variable", "", []string{"FAIRLEAD_STREAM_MAXAGE=1h"}, nil, []string{"FAIRLEAD_STREAM_MAXAGE,", "mean FAIRLEAD_STREAM_MAX_AGE?"}},
		{"no setting, flag", "", nil, []string{"--stream-maxage=1h"}, []string{"--stream-maxage"}},
		{"a value for a section", "stream: 4", nil, nil, []string{"stream,", "fairlead.yaml:1", "stream.name"}},
		{"a section for a value", "beat:\n  fast: yes", nil, nil, []string{"beat", "fairlead.yaml:1"}},
		{"no value", "beat:", nil, nil, []string{"beat", "fairlead.yaml:1"}},
		{"a list", "- beat", nil, nil, []string{"fairlead.yaml:1", "settings"}},
		{"twice", "beat: 1s\nbeat: 2s", nil, nil, []string{"fairlead.yaml:2", "beat"}},
		{"no YAML", "beat: [1s", nil, nil, []string{"fairlead.yaml:1"}},
		{"no file", "", nil, []string{"--config=/nowhere/x.yaml"}, []string{"config", `"/nowhere/x.yaml"`, "--config", "no such file"}},
		{"dedupe over max_age", "stream:\n  max_age: 1m", nil, nil, []string{"stream.dedupe", `"2m"`, "default", "stream.max_age, which is 1m"}},
		{"frame over the stream", "", []string{"FAIRLEAD_STREAM_MAX_BYTES=64KiB"}, nil, []string{"stream.max_bytes", `"64KiB"`, "FAIRLEAD_STREAM_MAX_BYTES", "limits.frame, which is 256KiB"}},
		{"no network", "", nil, []string{"--trusted-proxy=10.0.0.0/8,proxy"}, []string{"trusted_proxy", `"10.0.0.0/8,proxy"`, "--trusted-proxy", "2001:db8::/32"}},
		{"a mapped network", "trusted_proxy: '::ffff:10.0.0.0/104'", nil, nil, []string{"trusted_proxy", "fairlead.yaml:1"}},
		{"a list of sections", "trusted_proxy:\n  - a: b", nil, nil, []string{"trusted_proxy", "fairlead.yaml:2", "plain"}},
		{"an alias", "auth:\n  anonymous:\n    subscribe: *.public", nil, nil, []string{"auth.anonymous.subscribe", "fairlead.yaml:3", "in quotes"}},
		{"an alias in a list", "auth:\n  anonymous:\n    publish: [chat.*, *.x]", nil, nil, []string{"auth.anonymous.publish", "fairlead.yaml:3", "in quotes"}},
		{"an anchor", "auth:\n  issuer: &i https://a", nil, nil, []string{"auth.issuer", "fairlead.yaml:2", "in quotes"}},
		{"a tag", "beat: !!str 1s", nil, nil, []string{"beat", "fairlead.yaml:1", "in quotes"}},
		{"an anchor of a section", "stream: &s\n  name: A", nil, nil, []string{"fairlead.yaml:1", "in quotes"}},
		{"a list for a value", "beat: [1s, 2s]", nil, nil, []string{"beat", `"1s,2s"`, "duration"}},
		{"neither true nor false", "proxy_protocol: 2", nil, nil, []string{"proxy_protocol", `"2"`, "true or false"}},
		{"a protocol of nobody", "", nil, []string{"--proxy-protocol"}, []string{"proxy_protocol", `"true"`, "--proxy-protocol", "trusted_proxy"}},
		{"fanout under frame", "", nil, []string{"--limits-fanout=1KiB"}, []string{"limits.fanout", `"1KiB"`, "limits.frame, which is 256KiB"}},
		{"replicas alone", "", nil, []string{"--stream-replicas=3"}, []string{"stream.replicas", `"3"`, "nats"}},
	} {
		args := append([]string{"--print-config"}, c.args...)
		if c.file != "" {
			args = append(args, "--config", writeFile(t, c.file))
		}
		got := runProgram(t, c.env, args...)
		if got.code != 2 || got.out != "" {
			t.Errorf("%s: exit %d, %q", c.name, got.code, got.out)
		}
		for _, want := range c.want {
			if !strings.Contains(got.err, want) {
				t.Errorf("%s: got %q, which lacks %q", c.name, got.err, want)
			}
		}
		if n := strings.Count(got.err, "\n"); n != 1 {
			t.Errorf("%s: the error has %d lines: %s", c.name, n, got.err)
		}
	}
}

func TestVariablesThatKubernetesSetsAreNoMistake(t *testing.T) {
	settings(t, []string{"FAIRLEAD_SERVICE_HOST=10.0.0.1", "FAIRLEAD_PORT=tcp://10.0.0.1:80", "FAIRLEAD_PORT_80_TCP_ADDR=10.0.0.1", "FAIRLEAD_URL=http://x", "PATH=/bin"})
}

func TestSizesAndDurationsReadBack(t *testing.T) {
	for text, bytes := range map[string]size{"0": 0, "7": 7, "7B": 7, "64MiB": 64 << 20, "1GB": 1e9, "1 GiB": 1 << 30, "3kB": 3000, "1TiB": 1 << 40} {
		got, err := parseSize(text)
		if err != nil || got != bytes {
			t.Errorf("%q is %d, %v; want %d", text, got, err, bytes)
		}
		if again, err := parseSize(got.String()); err != nil || again != bytes {
			t.Errorf("%q is printed as %q, which is %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "1PiB", "9999999TiB", "1MiBB", "0x10", "1_000"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for text, want := range map[string]string{"24h": "24h", "90s": "1m30s", "60m": "1h", "1h0m1s": "1h0m1s", "0s": "0s", "10m": "10m", "250ms": "250ms"} {
		d, _ := time.ParseDuration(text)
		if got := formatDuration(d); got != want {
			t.Errorf("%s is printed as %s, want %s", text, got, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	f.Add("stream:\n  max_age: 1h\nauth: {secret: ", "}")
	f.Add("log: {level: warn}\n---\nbeat: &a 1s\n", "")
	f.Add("beat: *a\n<<: {x: y}\n? [a]\n: b", "")
	f.Add("auth: {secret ", "}")
	f.Add("auth:\n  anonymous:\n    subscribe: [*.public, &a b, !t c]\n    publish: *.x\n#", "")
	f.Add(">auth.secret: ", "X\x84")
	f.Fuzz(func(t *testing.T, before, after string) {
		settings, mistakes := parseFile("f", []byte(before+secret+after), settingKeys())
		for key, value := range settings {
			if !slices.Contains(settingKeys(), key) || !strings.HasPrefix(value.origin, "f:") {
				t.Errorf("got %s, %+v", key, value)
			}
			if strings.ContainsAny(value.text, "*&!") && !strings.Contains(before+secret+after, value.text) {
				t.Errorf("got %s, %+v, which the file does not say", key, value)
			}
		}
		for _, mistake := range mistakes {
			if !strings.Contains(mistake.Error(), "f:") {
				t.Errorf("got %v, which has no place", mistake)
			}
			if (strings.HasSuffix(before, "secret: ") || strings.HasSuffix(before, "secret ")) && strings.Contains(mistake.Error(), secret[:longQuote]) {
				t.Errorf("%q shows the secret: %v", before+secret+after, mistake)
			}
		}
	})
}

// fields visits each setting with its default.
func fields(of reflect.Type, visit func(key, value string)) {
	for field := range of.Fields() {
		if key := field.Tag.Get("key"); key != "" {
			visit(key, field.Tag.Get("default"))
		} else {
			fields(field.Type, visit)
		}
	}
}

func TestHelpNamesFlagsVariablesAndDefaults(t *testing.T) {
	got := runProgram(t, nil, "serve", "--help")
	for _, want := range []string{"--stream-max-age", "$FAIRLEAD_STREAM_MAX_AGE", "--print-config"} {
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("exit %d, and no %q in\n%s", got.code, want, got.out)
		}
	}
	settings := strings.Join(strings.Fields(got.out), " ") // whatever the width is
	fields(reflect.TypeFor[config](), func(key, value string) {
		want := " Default: " + value + " [$" + variableOfKey(key) + "]"
		if value == "" || value == "false" {
			want = "[$" + variableOfKey(key) + "]"
		}
		if !strings.Contains(settings, want) {
			t.Errorf("the help lacks %q", want)
		}
	})
	for command, want := range map[string]string{"token": "Default: 1h", "ping": "Default: 2s", "doctor": "Default: 5s", "sub": "Default: http://127.0.0.1:8080 [$FAIRLEAD_URL]"} {
		if got := runProgram(t, nil, command, "--help"); !strings.Contains(strings.Join(strings.Fields(got.out), " "), want) {
			t.Errorf("%s: no %q in\n%s", command, want, got.out)
		}
	}
	if got := runProgram(t, nil, "version"); got.code != 0 || !strings.Contains(got.out, "fairlead ") || !strings.Contains(got.out, "go1.") || !strings.Contains(got.out, "commit") {
		t.Errorf("got %+v", got)
	}
	if got := runProgram(t, nil, "nonsense"); got.code != 2 || !strings.Contains(got.err, "nonsense") {
		t.Errorf("got %+v", got)
	}
}

// TestMistakesPointToTheirHelp has the flags of each command.
func TestMistakesPointToTheirHelp(t *testing.T) {
	for args, want := range map[string]string{
		"--nope":              "unknown flag --nope: see fairlead serve --help\n",
		"serve --nope":        ": see fairlead serve --help\n",
		"pub --nope":          ": see fairlead pub --help\n",
		"check-config --no":   ": see fairlead check-config --help\n",
		"nonsense":            ": see fairlead --help\n",
		"--beat":              "--beat: it needs a value: see fairlead serve --help\n",
		"--beat --drain=1s":   "--beat: it needs a value: see fairlead serve --help\n",
		"--limits-frame -5":   "--limits-frame: it needs a value: see fairlead serve --help\n",
		"ping --url":          "--url: it needs a value: see fairlead ping --help\n",
		"token --ttl --sub a": "--ttl: it needs a value: see fairlead token --help\n",
	} {
		if got := runProgram(t, nil, strings.Fields(args)...); got.code != 2 || !strings.HasSuffix(got.err, want) {
			t.Errorf("%s: exit %d, got %q, want %q", args, got.code, got.err, want)
		}
	}
}

func TestCommandLineMistakesOfPubAndSub(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pub"}, "<channel>"},
		{[]string{"pub", "a..b", "x"}, "empty token"},
		{[]string{"pub", "chat.*", "x"}, "wildcards"},
		{[]string{"pub", "a", "x", "--type", "no type"}, "type"},
		{[]string{"pub", "a", "x", "--key", "no key"}, "key"},
		{[]string{"pub", "a", "x", "--lines"}, "--lines"},
		{[]string{"pub", "a", "x", "--url", "nowhere"}, "nowhere"},
		{[]string{"sub"}, "<channel>"},
		{[]string{"sub", "a", "--transport", "pigeon"}, "websocket"},
		{[]string{"sub", "a", "--after", "soon"}, "cursor"},
		{[]string{"sub", "a", "--after", "0", "--last", "1"}, "exclude"},
		{[]string{"sub", "a", "--last", "10001"}, "10000"},
		{[]string{"sub", "a", "--count", "-1"}, "count"},
	} {
		got := runProgram(t, nil, c.args...)
		if got.code != 2 || !strings.Contains(got.err, c.want) {
			t.Errorf("%v: exit %d, %s", c.args, got.code, got.err)
		}
	}
	// The variable is read, and the flag beats it.
	if got := runProgram(t, []string{"FAIRLEAD_URL=here"}, "pub", "a", "x"); !strings.Contains(got.err, `"here"`) {
		t.Errorf("got %s", got.err)
	}
	if got := runProgram(t, []string{"FAIRLEAD_URL=here"}, "pub", "a", "x", "--url=there"); !strings.Contains(got.err, `"there"`) {
		t.Errorf("got %s", got.err)
	}
}

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

const goodSecret = "--auth-secret=0123456789abcdefghijklmnopqrstuvwxyz"

// TestAnOpenGatewayListensOnThisMachineOnly tries every way to write an address.
func TestAnOpenGatewayListensOnThisMachineOnly(t *testing.T) {
	for listen, local := range map[string]bool{
		"127.0.0.1:0": true, "127.3.2.1:80": true, "[::1]:80": true, "localhost:80": true, "LOCALHOST:80": true, "a.localhost:80": true, "[::ffff:127.0.0.1]:80": true,
		":0": false, "0.0.0.0:80": false, "[::]:80": false, "192.0.2.1:80": false, "[2001:db8::1]:80": false, "example.com:80": false, "localhost.example.com:80": false, "127.0.0.1.example.com:80": false, "notlocalhost:80": false,
	} {
		got := runProgram(t, nil, "--print-config", "--listen", listen)
		if wantCode := map[bool]int{true: 0, false: 2}[local]; got.code != wantCode {
			t.Errorf("%s: exit %d: %s", listen, got.code, got.err)
		}
		if !local {
			for _, want := range []string{"listen", listen, "--auth-secret-file secret", "umask 077; openssl rand -base64 32 > secret", "fairlead token --auth-secret-file secret", "auth.keys", "--insecure"} {
				if !strings.Contains(got.err, want) {
					t.Errorf("%s: got %q, which lacks %q", listen, got.err, want)
				}
			}
		}
		for _, closed := range []string{"--insecure", goodSecret, "--auth-keys=k", "--auth-api-keys=k", "--auth-anonymous-subscribe=news.>"} {
			if got := runProgram(t, nil, "--print-config", "--listen", listen, closed); got.code != 0 {
				t.Errorf("%s with %s: exit %d: %s", listen, closed, got.code, got.err)
			}
		}
	}
}

// TestNothingBeginsBeforeAnOpenGatewayIsRefused runs the program: it leaves nothing behind.
func TestNothingBeginsBeforeAnOpenGatewayIsRefused(t *testing.T) {
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--listen=0.0.0.0:0"}, {"--listen=:0", "--auth-keys=nowhere.pem"}, {"--auth-secret-file=nowhere"}, {"--auth-api-keys=nowhere"}} {
		refused := exec.CommandContext(t.Context(), program, args...)
		refused.Dir, refused.Env = t.TempDir(), []string{}
		out, err := refused.CombinedOutput()
		if err == nil || refused.ProcessState.ExitCode() != 2 || strings.Contains(string(out), "listening") {
			t.Errorf("%v: got %v: %s", args, err, out)
		}
		if left, err := os.ReadDir(refused.Dir); err != nil || len(left) > 0 {
			t.Errorf("%v: left %v, %v", args, left, err)
		}
	}
}

// TestAnOpenGatewayAnswersForThisMachineOnly asks for another host, as a page does whose name leads here.
func TestAnOpenGatewayAnswersForThisMachineOnly(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
	}{
		"open":      {nil, http.StatusForbidden},
		"insecure":  {[]string{"--insecure"}, http.StatusOK},
		"with keys": {[]string{goodSecret, "--auth-anonymous-subscribe=a"}, http.StatusOK},
	} {
		url, _ := serveHere(t, append(c.args, "--data", t.TempDir())...)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/channels/a/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "rebound.example"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s: got %s, want %d", name, response.Status, c.status)
		}
	}
}

// TestContradictionsAreFound has one case for each: which settings, and what is said of which.
func TestContradictionsAreFound(t *testing.T) {
	const open = "--listen=127.0.0.1:0"
	for name, c := range map[string]struct {
		args     []string
		errors   []string
		warnings []string
	}{
		"nothing":                      {nil, nil, nil},
		"a secret":                     {[]string{goodSecret, "--auth-audience=a"}, nil, []string{"auth.secret"}},
		"a secret that is easy":        {[]string{"--auth-secret=" + strings.Repeat("ab", 20)}, nil, []string{"auth.secret", "auth.secret"}},
		"open to all":                  {[]string{"--listen=:1"}, []string{"listen"}, nil},
		"open to all, as is said":      {[]string{"--listen=:1", "--insecure"}, nil, []string{"insecure"}},
		"open behind a proxy":          {[]string{"--trusted-proxy=127.0.0.1"}, nil, []string{"trusted_proxy"}},
		"insecure with keys":           {[]string{"--insecure", "--auth-anonymous-subscribe=a"}, nil, []string{"insecure"}},
		"tokens in the clear":          {[]string{"--listen=:1", "--auth-jwks=https://a/b", "--auth-issuer=a"}, nil, []string{"listen"}},
		"tokens behind a proxy":        {[]string{"--listen=:1", "--auth-jwks=https://a/b", "--auth-issuer=a", "--trusted-proxy=10.0.0.0/8"}, nil, nil},
		"a JWKS for anybody":           {[]string{"--auth-jwks=https://a/b"}, []string{"auth.jwks"}, nil},
		"grace over lifetime":          {[]string{"--auth-grace=2s", "--auth-max-lifetime=1s", "--auth-skew=0s", "--auth-jwks=https://a/b", "--auth-issuer=a"}, []string{"auth.grace"}, nil},
		"skew over lifetime":           {[]string{"--auth-grace=1s", "--auth-max-lifetime=1s", "--auth-skew=2s", "--auth-jwks=https://a/b", "--auth-issuer=a"}, []string{"auth.skew"}, nil},
		"long lives":                   {[]string{"--auth-max-lifetime=721h", "--auth-jwks=https://a/b", "--auth-issuer=a"}, nil, []string{"auth.max_lifetime"}},
		"everybody writes":             {[]string{"--auth-anonymous-publish=>", "--auth-jwks=https://a/b", "--auth-issuer=a"}, nil, []string{"auth.anonymous.publish"}},
		"everybody reads":              {[]string{"--auth-anonymous-subscribe=a,>", "--auth-jwks=https://a/b", "--auth-issuer=a"}, nil, []string{"auth.anonymous.subscribe"}},
		"everybody reads, anywhere":    {[]string{"--listen=0.0.0.0:1", "--auth-anonymous-subscribe=>"}, nil, []string{"auth.anonymous.subscribe"}},
		"everybody reads some":         {[]string{"--auth-anonymous-subscribe=a.>"}, nil, nil},
		"everybody, everything":        {[]string{"--listen=:1", "--auth-anonymous-publish=>", "--auth-anonymous-subscribe=>"}, nil, []string{"auth.anonymous.publish"}},
		"an open site":                 {[]string{"--acme-domains=a.example", "--acme-accept-terms"}, nil, []string{"acme.domains"}},
		"a closed site":                {[]string{"--acme-domains=a.example", "--acme-accept-terms", "--auth-anonymous-subscribe=a"}, nil, nil},
		"a site that others close":     {[]string{"--acme-domains=a.example", "--acme-accept-terms", "--insecure"}, nil, nil},
		"no tokens to speak of":        {[]string{"--auth-issuer=a", "--auth-audience=b", "--auth-skew=1s", "--auth-grace=1s", "--auth-max-lifetime=1h"}, nil, []string{"auth.issuer", "auth.audience", "auth.skew", "auth.max_lifetime", "auth.grace"}},
		"all pages, open":              {[]string{"--origins=*"}, nil, []string{"origins"}},
		"all pages, and more":          {[]string{"--origins=*,https://a", "--auth-anonymous-subscribe=a"}, nil, []string{"origins", "origins"}},
		"pages in the clear":           {[]string{"--origins=http://a,http://localhost:3000", "--auth-anonymous-subscribe=a"}, nil, []string{"origins"}},
		"pages in the clear, open":     {[]string{"--origins=http://a"}, nil, nil},
		"a proxy anywhere":             {[]string{"--trusted-proxy=0.0.0.0/0,::/0", "--insecure"}, nil, []string{"trusted_proxy"}},
		"a header of nobody":           {[]string{"--forwarded-header=forwarded"}, nil, []string{"forwarded_header"}},
		"a protocol of nobody":         {[]string{"--proxy-protocol"}, []string{"proxy_protocol"}, nil},
		"dedupe over max_age":          {[]string{"--stream-max-age=1m"}, []string{"stream.dedupe"}, nil},
		"replicas alone":               {[]string{"--stream-replicas=3"}, []string{"stream.replicas"}, nil},
		"NATS and data":                {[]string{"--nats=nats://a", "--data=b", "--stream-sync=always", "--disk-reserve=1B"}, nil, []string{"data", "disk_reserve", "stream.sync"}},
		"a password in the clear":      {[]string{"--nats=nats://u:p@a,nats://u:p@127.0.0.1,tls://u:p@b"}, nil, []string{"nats"}},
		"slow beats":                   {[]string{"--beat=1m"}, nil, []string{"beat"}},
		"a long drain":                 {[]string{"--drain=21s"}, nil, []string{"drain"}},
		"large frames":                 {[]string{"--limits-frame=31MiB", "--limits-fanout=1MiB", "--limits-pending=1MiB", "--stream-max-bytes=1MiB", "--limits-batch=1MiB", "--tail-bytes=1MiB"}, []string{"stream.max_bytes", "limits.fanout", "limits.pending"}, []string{"limits.batch", "tail_bytes"}},
		"no limit of pending":          {[]string{"--limits-pending=0"}, nil, nil},
		"a share below a message":      {[]string{"--limits-pending=1MiB"}, nil, []string{"limits.pending"}},
		"a share of a message":         {[]string{"--limits-pending=2MiB"}, nil, nil},
		"one over all":                 {[]string{"--limits-attachments=10", "--limits-attaches=10", "--limits-commands-per-ip=10"}, nil, []string{"limits.attachments_per_ip", "limits.attachments_per_sub", "limits.attaches_per_ip", "limits.commands"}},
		"no limit of all":              {[]string{"--limits-attachments=0", "--limits-attaches=0", "--limits-commands-per-ip=0"}, nil, nil},
		"attachments for requests":     {[]string{"--limits-attachments-per-ip=100", "--limits-requests-per-ip=100"}, nil, []string{"limits.requests_per_ip"}},
		"any number of attachments":    {[]string{"--limits-attachments-per-ip=0"}, nil, []string{"limits.requests_per_ip"}},
		"some for commands":            {[]string{"--limits-attachments-per-ip=100", "--limits-requests-per-ip=101"}, nil, nil},
		"any number of requests":       {[]string{"--limits-attachments-per-ip=0", "--limits-requests-per-ip=0"}, nil, nil},
		"one client's catch-ups":       {[]string{"--limits-catch-ups-per-client=5"}, nil, []string{"limits.catch_ups_per_client"}},
		"catch-ups below the default":  {[]string{"--catch-ups=1"}, nil, nil},
		"several at once, in an order": {[]string{"--listen=:1", "--stream-replicas=2", "--limits-fanout=1KiB", "--beat=2m"}, []string{"listen", "stream.replicas", "limits.fanout"}, []string{"beat"}},
	} {
		args := append([]string{"check-config", open}, c.args...)
		if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--nats") }) {
			args = append(args, "--data", t.TempDir())
		}
		got := runProgram(t, nil, args...)
		wantCode := 0
		if len(c.errors) > 0 {
			wantCode = 2
		}
		if got.code != wantCode {
			t.Errorf("%s: exit %d: %s", name, got.code, got.err)
		}
		if errors, warnings := findings(got.out); !slices.Equal(errors, c.errors) || !slices.Equal(warnings, c.warnings) {
			t.Errorf("%s: got errors about %v and warnings about %v, want %v and %v in\n%s", name, errors, warnings, c.errors, c.warnings, got.out)
		}
		serve := runProgram(t, nil, append([]string{"--print-config", open}, c.args...)...)
		if serve.code != wantCode || strings.Count(serve.err, "\n") != len(c.errors) {
			t.Errorf("%s: serve: exit %d: %s", name, serve.code, serve.err)
		}
	}
}

// findings are the settings that check-config has found something about.
func findings(out string) (errors, warnings []string) {
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); fields[0] == "error" {
			errors = append(errors, fields[1])
		} else if fields[0] == "warning" {
			warnings = append(warnings, fields[1])
		}
	}
	return errors, warnings
}

// TestAllMistakesAreToldAtOnce has one in each source, and two in the file.
func TestAllMistakesAreToldAtOnce(t *testing.T) {
	file := writeFile(t, "beats: 1s\nlimits:\n  frame: huge\n  bach: 1MiB\n")
	for _, command := range []string{"serve", "check-config"} {
		got := runProgram(t, []string{"FAIRLEAD_DRAIN=soon", "FAIRLEAD_BAET=1s"}, command, "--config", file, "--listen=nowhere", "--log-level=loud")
		told := got.err
		if command == "check-config" {
			told = got.out
		}
		if got.code != 2 {
			t.Errorf("%s: exit %d", command, got.code)
		}
		for _, want := range []string{"beats, ", `limits.frame is "huge"`, "limits.bach, ", `drain is "soon"`, "FAIRLEAD_BAET, ", `listen is "nowhere"`, `log.level is "loud"`} {
			if !strings.Contains(told, want) {
				t.Errorf("%s: got %s, which lacks %q", command, told, want)
			}
		}
		if n := strings.Count(told, "\n"); n != 7 {
			t.Errorf("%s: %d lines", command, n)
		}
	}
}

// TestMistakesHideNothingElse has settings that cannot be read beside contradictions and bad files.
func TestMistakesHideNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		file             string
		env, args        []string
		errors, warnings []string
	}{
		"all kinds": {
			"beat: 2m\nlimits: {frame: huge, fanout: 1KiB}\nbeats: 1s\n", nil, []string{"--stream-replicas=2", "--auth-keys=/nowhere", "--data=/dev/null", "--drain=x"},
			[]string{"beats,", "limits.frame", "drain", "stream.replicas", "auth.keys", "data"}, []string{"beat"},
		},
		"what may be secured":       {"", []string{"FAIRLEAD_AUTH_SECRET=short"}, []string{"--listen=:1", "--auth-grace=1s"}, []string{"auth.secret"}, nil},
		"a slip in what secures":    {"auth: {secert: x}", nil, []string{"--listen=:1"}, []string{"auth.secert,"}, nil},
		"a slip in a variable":      {"", []string{"FAIRLEAD_AUTH_SECRET_FIEL=x"}, []string{"--listen=:1"}, []string{"FAIRLEAD_AUTH_SECRET_FIEL,"}, nil},
		"open, with a slip":         {"", []string{"FAIRLEAD_BAET=1s"}, []string{"--listen=:1"}, []string{"FAIRLEAD_BAET,", "listen"}, nil},
		"a section as a value":      {"auth: x", nil, []string{"--listen=:1", "--stream-replicas=2"}, []string{"auth,", "stream.replicas"}, nil},
		"a file that is not there":  {"", nil, []string{"--config=/nowhere", "--listen=:1"}, []string{"config"}, nil},
		"a file that is no YAML":    {"listen: [", nil, []string{"--stream-replicas=2"}, []string{"FILE:1:"}, nil},
		"age and what hangs on it":  {"", nil, []string{"--stream-max-age=1", "--stream-dedupe=24h"}, []string{"stream.max_age"}, nil},
		"limits, and their wholes":  {"", nil, []string{"--limits-attachments=x", "--limits-batch=x", "--limits-bodies=1MiB", "--limits-attachments-per-ip=200000", "--limits-requests-per-ip=0"}, []string{"limits.attachments", "limits.batch"}, nil},
		"the same, and they differ": {"", nil, []string{"--limits-attachments=1000", "--limits-frame=x", "--limits-bodies=1MiB"}, []string{"limits.frame"}, []string{"limits.bodies", "limits.attachments_per_ip"}},
	} {
		args := append([]string{"check-config"}, c.args...)
		path := "FILE"
		if c.file != "" {
			path = writeFile(t, c.file)
			args = append(args, "--config", path)
		}
		if !strings.Contains(strings.Join(args, " "), "--data") {
			args = append(args, "--data", t.TempDir())
		}
		got := runProgram(t, c.env, args...)
		errors, warnings := findings(strings.ReplaceAll(got.out, path, "FILE"))
		slices.Sort(errors)
		slices.Sort(c.errors)
		if got.code != 2 || !slices.Equal(errors, c.errors) || !slices.Equal(warnings, c.warnings) {
			t.Errorf("%s: exit %d, errors about %v and warnings about %v, want %v and %v in\n%s%s", name, got.code, errors, warnings, c.errors, c.warnings, got.out, got.err)
		}
	}
}

// TestFilesThatCannotBeUsedAreFound has a case for each that a setting can name.
func TestFilesThatCannotBeUsedAreFound(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		return path
	}
	private, public := newKeyPair(t)
	certificates := certtest.New(t)
	here, site := filepath.Join(dir, "localhost"), filepath.Join(dir, "rt.example.com")
	for _, path := range []string{here, site} {
		certificates.Keep(dir, filepath.Base(path), time.Now().AddDate(0, 0, 60))
	}
	certificate := filepath.Join(dir, "certificate.pem")
	certtest.WritePEM(t, certificate, "CERTIFICATE", certificates.Cert.Raw)
	const hash = "5a9ce3ad6a7af6e4fbbfa3e3750fa4999705b485edc2f76ea6ba10272b4371f4"
	for name, c := range map[string]struct {
		args              []string
		errors, warnings  []string
		says              string
		serveRefusesNever bool
	}{
		"no such key":           {args: []string{"--auth-keys", "/nowhere.pem"}, errors: []string{"auth.keys"}, says: "/nowhere.pem"},
		"several keys":          {args: []string{"--auth-keys", file("a.pem", "x", 0o600), "--auth-keys", file("b.json", `{"kty":1}`, 0o600)}, errors: []string{"auth.keys", "auth.keys"}, says: "b.json"},
		"no key":                {args: []string{"--auth-keys", file("text", "hello", 0o600)}, errors: []string{"auth.keys"}, says: "auth.secret_file"},
		"no keys":               {args: []string{"--auth-keys", file("set", `{"keys":[]}`, 0o600)}, errors: []string{"auth.keys"}, says: "for signatures"},
		"a key twice":           {args: []string{"--auth-keys", file("twice", `{"keys":[`+octKey("a")+`,`+octKey("a")+`]}`, 0o600)}, errors: []string{"auth.keys"}, says: `the id "a"`},
		"no such secret":        {args: []string{"--auth-secret-file", "/nowhere"}, errors: []string{"auth.secret_file"}, says: "no such file"},
		"a short secret":        {args: []string{"--auth-secret-file", file("short", "short\n", 0o600)}, errors: []string{"auth.secret_file"}, says: "5 bytes"},
		"no secret at all":      {args: []string{"--auth-secret-file", "/dev/null"}, errors: []string{"auth.secret_file"}, says: "it has 0 bytes"},
		"a secret to guess":     {args: []string{"--auth-secret-file", file("guess", strings.Repeat("a", 36), 0o600)}, warnings: []string{"auth.secret_file"}, says: "guessed"},
		"a certificate":         {args: []string{"--auth-keys", certificate}, errors: []string{"auth.keys"}, says: "openssl x509 -pubkey -noout"},
		"a secret for all":      {args: []string{"--auth-secret-file", file("public", strings.Repeat("a secret to the world ", 2), 0o644)}, warnings: []string{"auth.secret_file"}, says: "chmod"},
		"a private key":         {args: []string{"--auth-keys", file("private", private, 0o644)}, warnings: []string{"auth.keys"}, says: "chmod"},
		"a public key":          {args: []string{"--auth-keys", file("pub", public, 0o644)}},
		"a secret in a file":    {args: []string{"--config", file("c.yaml", "auth: {secret: 0123456789abcdefghijklmnopqrstuvwxyz}", 0o644)}, warnings: []string{"auth.secret"}, says: "c.yaml"},
		"no API keys":           {args: []string{"--auth-api-keys", file("none", "[]", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: "fairlead api-key"},
		"a slip in API keys":    {args: []string{"--auth-api-keys", file("slip", "- name: a\n  hash: "+hash+"\n  subscribes: [a]\n", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: "slip:3"},
		"a key for a hash":      {args: []string{"--auth-api-keys", file("key", "- {name: a, hash: fl_key, subscribe: [a]}", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: "fairlead api-key"},
		"a key of no use":       {args: []string{"--auth-api-keys", file("useless", "- {name: a, hash: "+hash+"}", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: "may do nothing"},
		"a key of two names":    {args: []string{"--auth-api-keys", file("names", "- {name: a, hash: "+hash+", manage: [a]}\n- {name: b, hash: "+hash+", manage: [b]}", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: `"a" and "b"`},
		"no pattern":            {args: []string{"--auth-api-keys", file("pattern", "- {name: a, hash: "+hash+", manage: ['a..b']}", 0o600)}, errors: []string{"auth.api_keys"}, warnings: []string{"auth.api_keys"}, says: "manage"},
		"data is a file":        {args: []string{"--data", file("data", "", 0o600)}, errors: []string{"data"}, says: "no directory", serveRefusesNever: true},
		"data below a file":     {args: []string{"--data", filepath.Join(file("data2", "", 0o600), "x")}, errors: []string{"data"}, serveRefusesNever: true},
		"data is read-only":     {args: []string{"--data", "/proc/fairlead"}, errors: []string{"data"}, says: "nothing can be written", serveRefusesNever: true},
		"data that is to be":    {args: []string{"--data", filepath.Join(dir, "a", "b", "c")}},
		"open for this machine": {args: []string{"--tls-cert", here, "--tls-key", here}},
		"open for a site":       {args: []string{"--tls-cert", site, "--tls-key", site}, warnings: []string{"tls.cert"}, says: "403"},
		"closed for a site":     {args: []string{"--tls-cert", site, "--tls-key", site, "--auth-anonymous-subscribe=a"}},
		"no such certificate":   {args: []string{"--tls-cert=/nowhere", "--tls-key=/nowhere"}, errors: []string{"tls.cert"}, says: "/nowhere", serveRefusesNever: true},
	} {
		args := append([]string{"check-config"}, c.args...)
		if !slices.Contains(args, "--data") {
			args = append(args, "--data", filepath.Join(dir, "data-of-none"))
		}
		got := runProgram(t, nil, args...)
		errors, warnings := findings(got.out)
		if !slices.Equal(errors, c.errors) || !slices.Equal(warnings, c.warnings) || !strings.Contains(got.out, c.says) {
			t.Errorf("%s: got errors about %v and warnings about %v, want %v and %v, and %q in\n%s", name, errors, warnings, c.errors, c.warnings, c.says, got.out)
		}
		if len(c.errors) == 0 || c.serveRefusesNever {
			continue
		}
		if serve := runProgram(t, nil, append([]string{"serve", "--listen=127.0.0.1:0"}, args[1:]...)...); serve.code != 2 {
			t.Errorf("%s: serve: exit %d: %s", name, serve.code, serve.err)
		}
	}
	for _, left := range []string{"a", "data-of-none"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("check-config has made %s", left)
		}
	}
}

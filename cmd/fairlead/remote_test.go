package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// guarded is a gateway that wants tokens.
type guarded struct {
	t      *testing.T
	url    string
	secret string // the file
}

func serveGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t, secret: write(t, strings.Repeat("0123456789", 4))}
	g.url, _ = serveHere(t, "--data", t.TempDir(), "--auth-secret-file", g.secret)
	return g
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// token makes one that may use the channel.
func (g *guarded) token(channel string) string {
	g.t.Helper()
	got := runProgram(g.t, nil, "token", "--auth-secret-file", g.secret, "--subscribe", channel, "--publish", channel)
	if got.code != 0 {
		g.t.Fatalf("got %+v", got)
	}
	return strings.TrimSpace(got.out)
}

func TestClientsShowTheTokenOfTheFileOrTheVariable(t *testing.T) {
	g := serveGuarded(t)
	token := g.token("chat.42")
	file := write(t, token+"\n")
	for name, how := range map[string]struct {
		env  []string
		args []string
	}{
		"a file":                  {nil, []string{"--token-file", file}},
		"a file by its variable":  {[]string{"FAIRLEAD_TOKEN_FILE=" + file}, nil},
		"a variable":              {[]string{"FAIRLEAD_TOKEN=" + token}, nil},
		"a file before variables": {[]string{"FAIRLEAD_TOKEN=bad", "FAIRLEAD_TOKEN_FILE=bad"}, []string{"--token-file", file}},
	} {
		for _, command := range [][]string{{"pub", "chat.42", "hello"}, {"sub", "chat.42", "--last=1", "--count=1"}, {"ping"}} {
			args := append(append(command, "--url", g.url), how.args...)
			if got := runProgram(t, how.env, args...); got.code != 0 || got.out == "" {
				t.Errorf("%s, %s: got %+v", name, command[0], got)
			}
		}
	}
}

// TestPingTakesAnyCertificateIfToldSo has one for another name, and a token that must not go there.
func TestPingTakesAnyCertificateIfToldSo(t *testing.T) {
	dir := t.TempDir()
	certtest.New(t).Keep(dir, "rt.example.com", time.Now().AddDate(0, 0, 60))
	file := filepath.Join(dir, "rt.example.com")
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.Header["Authorization"]...)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"mwsveo2m-1","time":1}`)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	env := []string{"FAIRLEAD_TOKEN=secret", "FAIRLEAD_URL=" + server.URL}
	if got := runProgram(t, env, "ping"); got.code != 1 || !strings.Contains(got.err, "certificate") {
		t.Errorf("got %+v", got)
	}
	if got := runProgram(t, env, "ping", "--insecure"); got.code != 0 || got.out != "mwsveo2m-1\n" {
		t.Errorf("got %+v", got)
	}
	if len(shown) > 0 {
		t.Errorf("it has shown %q", shown)
	}
}

func TestClientsAreToldWhatToDoAboutTheirToken(t *testing.T) {
	g := serveGuarded(t)
	bad := "eyJhbGciOiJIUzI1NiJ9.e30.c2VjcmV0LXNpZ25hdHVyZQ"
	for name, test := range map[string]struct {
		env  []string
		args []string
		code int
		want string
	}{
		"none":          {nil, nil, 1, "unauthorized: there is no token: send one in the Authorization header or in hello; give --token-file or $FAIRLEAD_TOKEN: fairlead token makes a token"},
		"a bad one":     {[]string{"FAIRLEAD_TOKEN=" + bad}, nil, 1, "put another token into $FAIRLEAD_TOKEN"},
		"a bad file":    {nil, []string{"--token-file", write(t, bad)}, 1, "put another token into /"},
		"no file":       {nil, []string{"--token-file", "nowhere"}, 2, "--token-file: open nowhere"},
		"an empty file": {nil, []string{"--token-file", write(t, "\n")}, 2, "is empty: put a token there"},
		"a flag":        {nil, []string{"--token", bad}, 2, "unknown flag --token"},
		"not granted":   {[]string{"FAIRLEAD_TOKEN=" + g.token("news")}, nil, 1, "forbidden: the token does not grant"},
	} {
		for _, command := range [][]string{{"pub", "chat.42", "hello"}, {"sub", "chat.42"}} {
			got := runProgram(t, test.env, append(append(command, "--url", g.url), test.args...)...)
			if got.code != test.code || got.out != "" || !strings.Contains(got.err, test.want) {
				t.Errorf("%s, %s: got %+v", name, command[0], got)
			}
			if strings.Contains(got.err, "c2VjcmV0") {
				t.Errorf("%s, %s: it tells the token: %s", name, command[0], got.err)
			}
		}
	}
}

func TestASubscriptionSaysWhatIsNotGrantedAndGoesOn(t *testing.T) {
	g := serveGuarded(t)
	env := []string{"FAIRLEAD_TOKEN=" + g.token("chat.42")}
	runProgram(t, env, "pub", "chat.42", "hello", "--url", g.url)
	got := runProgram(t, env, "sub", "chat.42", "news", "--last=1", "--count=1", "--url", g.url)
	if got.code != 0 || !strings.Contains(got.out, "hello") || !strings.Contains(got.err, "-- nothing more comes of news: forbidden: the token does not grant") {
		t.Errorf("got %+v", got)
	}
}

func TestATokenFileIsReadEachTime(t *testing.T) {
	b := bearer{TokenFile: write(t, " one\n")}
	ask, err := b.source(&sources{env: map[string]string{"FAIRLEAD_TOKEN": "two"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "three", ""} {
		switch want {
		case "one":
		case "":
			err = os.Remove(b.TokenFile)
		default:
			err = os.WriteFile(b.TokenFile, []byte(want), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t.Context()); got != want || (err == nil) != (want != "") {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if ask, err := (bearer{}).source(&sources{env: map[string]string{"FAIRLEAD_TOKEN": " "}}); ask != nil || err != nil {
		t.Errorf("without a token there is one: %v", err)
	}
}

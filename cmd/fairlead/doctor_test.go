package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/clients/doctor"
)

func TestTheDoctorExaminesAGateway(t *testing.T) {
	url, _ := serveHere(t, "--data", t.TempDir())
	got := runProgram(t, nil, "doctor", url)
	if got.code != 0 || got.err != "" {
		t.Errorf("got %+v", got)
	}
	for _, want := range []string{"Fairlead doctor: " + url + "\n", "\n  ok  WebSocket  First frame after ", "What the client will use\n  WebSocket", "What to change\n"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("it lacks %q:\n%s", want, got.out)
		}
	}
	got = runProgram(t, []string{"FAIRLEAD_URL=" + url}, "doctor", "--json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	if report.Version != 1 || report.Client != "cli" || report.URL != url || report.Transport != "websocket" || len(report.Probes) != 5 {
		t.Errorf("got %+v", report)
	}
}

func TestTheDoctorFailsWhenNothingWorks(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	got := runProgram(t, nil, "doctor", server.URL)
	if got.code != 1 || !strings.Contains(got.out, "What answers is not Fairlead: status 404") || !strings.Contains(got.err, "no transport works") {
		t.Errorf("got %+v", got)
	}
	got = runProgram(t, nil, "doctor", "--json", server.URL)
	if got.code != 1 || !strings.Contains(got.out, `"works": false`) || !strings.Contains(got.out, `"skipped": true`) {
		t.Errorf("got %+v", got)
	}
}

func TestTheDoctorIsTold(t *testing.T) {
	for _, args := range [][]string{{"gateway"}, {"ftp://gateway"}, {"--timeout=0s", "http://gateway"}, {"--idle=-1s", "http://gateway"}, {"--idle=soon"}} {
		if got := runProgram(t, nil, append([]string{"doctor"}, args...)...); got.code != 2 || got.out != "" {
			t.Errorf("%q: got %+v", args, got)
		}
	}
}

func TestTheDoctorShowsItsToken(t *testing.T) {
	g := serveGuarded(t)
	got := runProgram(t, nil, "doctor", g.url)
	if got.code != 1 || !strings.Contains(got.err, "the gateway lets nobody in like this") {
		t.Errorf("got %+v", got)
	}
	for _, want := range []string{"  no  WebSocket  The gateway wants a token: there is no token", "  no  Poll       The gateway wants a token", "Not known yet:", "--token-file"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("it lacks %q:\n%s", want, got.out)
		}
	}
	token := g.token("chat.42")
	got = runProgram(t, nil, "doctor", g.url, "--token-file", write(t, token))
	if got.code != 0 || strings.Contains(got.out+got.err, token) {
		t.Errorf("got %+v", got)
	}
	got = runProgram(t, []string{"FAIRLEAD_TOKEN=fl_nonsense"}, "doctor", g.url, "--json")
	if got.code != 1 || !strings.Contains(got.out, `"token_refused"`) || strings.Contains(got.out, "nonsense") {
		t.Errorf("got %+v", got)
	}
}

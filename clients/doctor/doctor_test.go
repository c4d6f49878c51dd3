package doctor

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestTheTableIsWhole(t *testing.T) {
	used := map[string]bool{}
	for code, meaning := range Words.Findings {
		if !slices.Contains([]Severity{Info, Warn, Bad}, meaning.Severity) || !strings.HasSuffix(meaning.Text, ".") {
			t.Errorf("%s: severity %q, text %q", code, meaning.Severity, meaning.Text)
		}
		for _, advice := range meaning.Advice {
			used[advice] = true
			if Words.Advice[advice].Text == "" {
				t.Errorf("%s: there is no advice %s", code, advice)
			}
		}
		if meaning.Severity == Bad && len(meaning.Advice) == 0 && code != "refused" {
			t.Errorf("%s is bad, and nobody is told what to do", code)
		}
	}
	for code := range Words.Advice {
		if !used[code] {
			t.Errorf("the advice %s is never given", code)
		}
	}
	for _, name := range append([]string{"reach"}, names()...) {
		if p := Words.Probes[name]; p.Title == "" || p.OK == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for _, name := range append(names(), "none", "denied", "nothing", "skipped", "uses", "change", "nginx", "haproxy", "alb", "hidden") {
		if Words.Labels[name] == "" {
			t.Errorf("no label %s", name)
		}
	}
}

func names() (names []string) {
	for _, t := range protocol.Transports() {
		names = append(names, string(t))
	}
	return names
}

// What people are told to paste must be what the proxies take.
func TestTheAdviceIsConfiguration(t *testing.T) {
	for code, advice := range Words.Advice {
		if len(advice.Nginx) > 0 {
			accepts(t, code, "nginx", "/usr/sbin", strings.NewReplacer("HERE", strings.Join(advice.Nginx, "\n")).Replace(
				"daemon off; pid DIR/pid; error_log stderr; events {} http { access_log off; server { listen 127.0.0.1:1; location / {\nproxy_pass http://127.0.0.1:2;\nHERE\n} } }"),
				"-t", "-p", "DIR", "-c", "FILE")
		}
		if len(advice.HAProxy) > 0 {
			accepts(t, code, "haproxy", "/usr/sbin", "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n "+
				strings.Join(advice.HAProxy, "\n ")+"\nlisten fairlead\n bind 127.0.0.1:1\n server fairlead 127.0.0.1:2\n", "-c", "-f", "FILE")
		}
	}
}

func accepts(t *testing.T, code, program, at, configuration string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath(filepath.Join(at, program))
	}
	if err != nil {
		if os.Getenv("FULL_TESTS") != "" && program == "nginx" {
			t.Errorf("%s is not installed", program)
		}
		return
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	place := strings.NewReplacer("DIR", dir, "FILE", file)
	if err := os.WriteFile(file, []byte(place.Replace(configuration)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = place.Replace(args[i])
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("WARNING")) {
		t.Errorf("%s: %s does not take it: %v\n%s", code, program, err, out)
	}
}

func TestAReportSaysWhatTheClientUsesAndEachAdviceOnce(t *testing.T) {
	good := func(name string) Probe {
		p := Probe{Name: name, Welcome: 2, Proof: 252}
		p.Conclude()
		return p
	}
	bad := func(name, code string) Probe {
		p := Probe{Name: name}
		p.Conclude(Found(code, Values{"status": 403, "by": "", "limit_ms": 5000.0}))
		return p
	}
	for _, test := range []struct {
		probes    []Probe
		transport string
		works     bool
		advice    string
	}{
		{[]Probe{good("websocket"), good("sse"), good("poll")}, "websocket", true, ""},
		{[]Probe{bad("websocket", "upgrade_blocked"), good("sse"), good("poll")}, "sse", true, "upgrade"},
		{[]Probe{bad("websocket", "upgrade_blocked"), bad("sse", "stream_silent"), bad("stream", "stream_silent"), good("poll")}, "poll", true, "upgrade buffering"},
		{[]Probe{bad("websocket", "upgrade_blocked"), bad("sse", "stream_silent"), good("stream"), good("poll")}, "stream", true, "upgrade buffering"},
		{[]Probe{bad("websocket", "upgrade_blocked"), bad("sse", "attach_status"), bad("poll", "attach_status")}, "", false, "upgrade filter"},
		{[]Probe{bad("websocket", "token_missing"), bad("sse", "token_missing"), bad("poll", "token_missing")}, "", false, "token"},
	} {
		report := Report{Probes: test.probes}
		report.Conclude()
		var advice []string
		for _, a := range report.Advice {
			advice = append(advice, a.Code)
		}
		if denied := strings.Contains(test.advice, "token"); report.Denied() != denied || denied && report.label() != "denied" {
			t.Errorf("%+v: denied is %v", test, report.Denied())
		}
		if got := strings.Join(advice, " "); report.Transport != test.transport || report.Works != test.works || got != test.advice {
			t.Errorf("got %q, %v, %q: want %+v", report.Transport, report.Works, got, test)
		}
	}
}

func TestWritesForPeople(t *testing.T) {
	report := Report{}
	for _, name := range []string{"reach", "sse"} {
		p := Probe{Name: name, RTT: 1.25, Welcome: 12.4, Proof: 1263}
		p.Conclude(Found("between", Values{"what": "nginx\x1b[2J\n" + strings.Repeat("long ", 30)}))
		report.Probes = append(report.Probes, p)
	}
	p := Probe{Name: "websocket"}
	p.Conclude(Found("upgrade_blocked", Values{"status": 403, "by": "squid"}))
	report.Probes = append(report.Probes, p, Skipped("poll"))
	report.Conclude()
	var out strings.Builder
	w := NewWriter(&out, "http://x\x07")
	for _, p := range report.Probes {
		w.Probe(p)
	}
	if err := w.Conclusion(&report); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"Fairlead doctor: http://x\n\n",
		"  ok  Reach      Fairlead answers; a round trip takes 1.2 ms.\n                 On the way: nginx[2Jlong long",
		"  ok  SSE        First frame after 12 ms, proven after 1.3 s.\n",
		"  no  WebSocket  The upgrade was answered with status 403, from squid.\n",
		"  --  Poll       Not tried",
		"What the client will use\n  SSE: ",
		"What to change\n  1. Let the proxy pass WebSocket upgrades on.",
		"     nginx, in the location of the gateway\n         proxy_http_version 1.1;\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if len(line) > width+1 && !strings.Contains(line, "aws ") {
			t.Errorf("too wide: %q", line)
		}
	}
}

package probe

import (
	"compress/gzip"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/fairlead/fairlead/clients/doctor"
	"github.com/fairlead/fairlead/protocol"
)

// on makes a fault of one transport; without one, of the ping.
func on(t protocol.Transport, f func(w http.ResponseWriter, r *http.Request)) way {
	return way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		if transportOf(r) != t || t == "" && r.URL.Path != "/v1/ping" {
			return false
		}
		f(w, r)
		return true
	}}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "squid/6.1")
		w.WriteHeader(code)
	}
}

func silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func problem(status int, code, detail string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":%q}`, status, code, detail)
	}
}

// stream is a stream that goes as play says.
func stream(change func(http.Header), play func(send func([]byte))) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		play(open(w, r, change))
		<-r.Context().Done()
	}
}

// socket is a WebSocket that goes as play says, and then hears the client out.
func socket(play func(send func([]byte))) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		conn := upgrade(w, r)
		defer conn.Close()
		_, _ = wsutil.ReadClientText(conn)
		play(func(frame []byte) { _ = wsutil.WriteServerText(conn, frame) })
		_, _ = io.Copy(io.Discard, conn)
	}
}

// after waits so long for each of the frames.
func after(waits ...time.Duration) func(func([]byte)) {
	return func(send func([]byte)) {
		for i, frame := range [][]byte{welcome, proof}[:len(waits)] {
			time.Sleep(waits[i])
			send(frame)
		}
	}
}

func forged(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// compressed is a stream that a proxy compresses, and flushes.
func compressed(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept-Encoding") != "gzip" {
		way{}.serve(w, r)
		return
	}
	w.Header().Set("Content-Type", media[transportOf(r)])
	w.Header().Set("Cache-Control", "no-store, no-transform")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	after(0, 250*time.Millisecond)(func(frame []byte) {
		fmt.Fprintf(z, "data: %s\n\n", frame)
		_ = z.Flush()
		_ = http.NewResponseController(w).Flush()
	})
	<-r.Context().Done()
}

// fault is something that lies on the way, and what must be found.
type fault struct {
	way      way
	options  Options
	make     func(t *testing.T, w *way)
	want     map[string]string // by probe, codes joined by spaces; a probe that is not named has none
	skipped  bool              // the transports are
	uses     string
	contains string // in the text of some finding
}

const day = 24 * time.Hour

var faults = map[string]fault{
	"nothing": {uses: "websocket"},
	"a named proxy": {way: way{fault: func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Server", "nginx/1.22")
		return false
	}}, want: map[string]string{"reach": "between"}, uses: "websocket", contains: "nginx/1.22"},
	"no such name":    {way: way{dial: &net.DNSError{Name: "gateway.test", Err: "no such host", IsNotFound: true}}, want: map[string]string{"reach": "dns_failed"}, skipped: true, contains: "gateway.test"},
	"refused port":    {way: way{dial: syscall.ECONNREFUSED}, want: map[string]string{"reach": "connect_refused"}, skipped: true},
	"dropped packets": {way: way{dead: true}, want: map[string]string{"reach": "connect_timeout"}, skipped: true, contains: "5.0 s"},
	"no route":        {way: way{dial: syscall.EHOSTUNREACH}, want: map[string]string{"reach": "connect_failed"}, skipped: true, contains: "no route to host"},

	"an HTTP proxy":           {way: way{proxy: "http://user:secret@proxy.test:3128"}, want: map[string]string{"reach": "proxied"}, uses: "websocket", contains: "http://user:xxxxx@proxy.test:3128"},
	"an HTTP proxy not up":    {way: way{proxy: "http://proxy.test:3128", dial: syscall.ECONNREFUSED}, want: map[string]string{"reach": "proxied proxy_unreachable"}, skipped: true},
	"an HTTP proxy says no":   {way: way{proxy: "http://proxy.test:3128", plain: true, fault: func(w http.ResponseWriter, r *http.Request) bool { status(403)(w, r); return true }}, want: map[string]string{"reach": "proxied proxy_refused"}, skipped: true, contains: "403 Forbidden"},
	"https where there is no": {way: way{plain: true}, want: map[string]string{"reach": "tls_failed"}, skipped: true},

	"trusted TLS":      {make: withTLS("Let's Trust", 30*day, true, "gateway.test"), want: map[string]string{"reach": "tls_issuer"}, uses: "websocket", contains: "Let's Trust"},
	"unknown issuer":   {make: withTLS("Acme", 30*day, false, "gateway.test"), want: map[string]string{"reach": "tls_untrusted"}, skipped: true, contains: "Acme"},
	"insecure":         {make: withTLS("Acme", 30*day, false, "gateway.test"), options: Options{Insecure: true}, want: map[string]string{"reach": "tls_unverified"}, uses: "websocket", contains: "Acme"},
	"trusted Zscaler":  {make: withTLS("Zscaler Inc.", 30*day, true, "gateway.test"), want: map[string]string{"reach": "tls_intercepted"}, uses: "websocket", contains: "intercepted by Zscaler Inc."},
	"unknown Fortinet": {make: withTLS("Fortinet", 30*day, false, "gateway.test"), want: map[string]string{"reach": "tls_intercepted tls_untrusted"}, skipped: true, contains: "intercepted by Fortinet"},
	"another name":     {make: withTLS("Acme", 30*day, true, "other.test"), want: map[string]string{"reach": "tls_wrong_name"}, skipped: true, contains: "but for other.test"},
	"expired":          {make: withTLS("Acme", -day, true, "gateway.test"), want: map[string]string{"reach": "tls_expired"}, skipped: true, contains: "1999-12-31"},

	"a portal": {way: on("", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.test/?x", http.StatusFound)
	}), want: map[string]string{"reach": "portal"}, skipped: true, contains: "login.test"},
	"511": {way: on("", status(511)), want: map[string]string{"reach": "portal"}, skipped: true},
	"another address": {way: on("", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://gateway.test/v1/ping", http.StatusPermanentRedirect)
	}), want: map[string]string{"reach": "redirected"}, skipped: true, contains: "https://gateway.test"},
	"a web page":          {way: on("", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!doctype html><title>Sign in</title>") }), want: map[string]string{"reach": "other_server"}, skipped: true, contains: "text/html"},
	"another JSON":        {way: on("", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"id": "x"}) }), want: map[string]string{"reach": "other_server"}, skipped: true},
	"a healthy something": {way: on("", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"status": "ok"}) }), want: map[string]string{"reach": "other_server"}, skipped: true},
	"a bad gateway":       {way: on("", status(502)), want: map[string]string{"reach": "upstream_down"}, skipped: true, contains: "502, from squid/6.1"},
	"a reset":             {way: on("", reset), want: map[string]string{"reach": "request_reset"}, skipped: true},
	"no answer at all":    {way: on("", silence), want: map[string]string{"reach": "request_timeout"}, skipped: true},

	"upgrade 403":      {way: on("websocket", status(403)), want: map[string]string{"websocket": "upgrade_blocked"}, uses: "sse", contains: "403, from squid/6.1"},
	"upgrade 400":      {way: on("websocket", status(400)), want: map[string]string{"websocket": "upgrade_blocked"}, uses: "sse"},
	"upgrade 502":      {way: on("websocket", status(502)), want: map[string]string{"websocket": "upgrade_blocked"}, uses: "sse"},
	"upgrade 200":      {way: on("websocket", status(200)), want: map[string]string{"websocket": "upgrade_blocked"}, uses: "sse"},
	"upgrade lost":     {way: on("websocket", problem(400, "bad_request", "no Upgrade")), want: map[string]string{"websocket": "upgrade_lost"}, uses: "sse"},
	"upgrade forged":   {way: on("websocket", forged), want: map[string]string{"websocket": "upgrade_forged"}, uses: "sse"},
	"upgrade reset":    {way: on("websocket", reset), want: map[string]string{"websocket": "upgrade_reset"}, uses: "sse"},
	"upgrade held":     {way: on("websocket", silence), want: map[string]string{"websocket": "upgrade_timeout"}, uses: "sse"},
	"mute 101":         {way: on("websocket", socket(after())), want: map[string]string{"websocket": "websocket_mute"}, uses: "sse"},
	"socket welcomes":  {way: on("websocket", socket(after(0))), want: map[string]string{"websocket": "proof_missing"}, uses: "sse"},
	"socket is late":   {way: on("websocket", socket(after(0, 2*time.Second))), want: map[string]string{"websocket": "proof_late"}, uses: "sse"},
	"socket says no":   {way: on("websocket", socket(func(send func([]byte)) { send([]byte(`{"op":"error","code":"unavailable","message":"draining"}`)) })), want: map[string]string{"websocket": "refused"}, uses: "sse", contains: "draining"},
	"socket noise":     {way: on("websocket", socket(func(send func([]byte)) { send([]byte(`{"op":"wel`)) })), want: map[string]string{"websocket": "damaged"}, uses: "sse"},
	"a drain":          {way: on("sse", problem(503, "unavailable", "the server is draining")), want: map[string]string{"sse": "refused"}, uses: "websocket", contains: "the server is draining (unavailable)"},
	"a filter":         {way: on("sse", status(403)), want: map[string]string{"sse": "attach_status"}, uses: "websocket"},
	"all is held":      {way: on("sse", silence), want: map[string]string{"sse": "stream_silent"}, uses: "websocket"},
	"the body is held": {way: on("sse", stream(nil, after())), want: map[string]string{"sse": "stream_held"}, uses: "websocket"},
	"lines are held":   {way: on("stream", stream(nil, after())), want: map[string]string{"stream": "stream_held"}, uses: "websocket"},
	"another type":     {way: on("sse", stream(func(h http.Header) { h.Set("Content-Type", "text/plain") }, after())), want: map[string]string{"sse": "type_rewritten"}, uses: "websocket"},
	"gzip":             {way: on("sse", compressed), want: map[string]string{"sse": "compressed"}, uses: "websocket"},
	"another header":   {way: on("sse", stream(func(h http.Header) { h.Set("Cache-Control", "private") }, after(0, 250*time.Millisecond))), want: map[string]string{"sse": "headers_rewritten"}, uses: "websocket"},
	"noise":            {way: on("stream", stream(nil, func(send func([]byte)) { send([]byte(`{"op":"wel`)) })), want: map[string]string{"stream": "damaged"}, uses: "websocket"},
	"a slow stream":    {way: on("sse", stream(nil, after(3*time.Second, 250*time.Millisecond))), want: map[string]string{"sse": "slow"}, uses: "websocket"},
	"a moment": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v1/ping":
			time.Sleep(time.Millisecond)
		case transportOf(r) == protocol.SSE:
			time.Sleep(200 * time.Millisecond)
		}
		return false
	}}, want: map[string]string{"sse": "delayed"}, uses: "websocket", contains: "took 200 ms, and a ping takes 1.0 ms"},
	"the rest is held":  {way: on("sse", stream(nil, after(0))), want: map[string]string{"sse": "proof_missing"}, uses: "websocket"},
	"a late proof":      {way: on("sse", stream(nil, after(0, 2*time.Second))), want: map[string]string{"sse": "proof_late"}, uses: "websocket"},
	"collected":         {way: on("sse", stream(nil, after(600*time.Millisecond, 0))), want: map[string]string{"sse": "bunched"}, uses: "websocket"},
	"the stream breaks": {way: on("sse", func(w http.ResponseWriter, r *http.Request) { open(w, r, nil); reset(w, r) }), want: map[string]string{"sse": "ended"}, uses: "websocket"},
	"the stream ends":   {way: on("sse", func(w http.ResponseWriter, r *http.Request) { open(w, r, nil)(welcome) }), want: map[string]string{"sse": "ended"}, uses: "websocket"},

	"half an answer":               {way: on("poll", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"frames":[{"op":"welcome"}]`) }), want: map[string]string{"poll": "poll_partial"}, uses: "websocket"},
	"an answer of somebody else's": {way: on("poll", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"frames":[{"op":"beat"}],"id":"a-1"}`) }), want: map[string]string{"poll": "poll_partial"}, uses: "websocket"},
	"an empty answer":              {way: on("poll", func(w http.ResponseWriter, _ *http.Request) {}), want: map[string]string{"poll": "poll_partial"}, uses: "websocket"},
	"a cache": {way: on("poll", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"frames":[{"op":"welcome","session":"s1"}],"id":"a-1"}`)
	}), want: map[string]string{"poll": "poll_cached"}, uses: "websocket"},
	"a cache that says so": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && transportOf(r) == protocol.Poll {
			w.Header().Set("Age", "7")
		}
		return false
	}}, want: map[string]string{"poll": "poll_cached"}, uses: "websocket"},
	"a poll is held":  {way: on("poll", silence), want: map[string]string{"poll": "request_timeout"}, uses: "websocket"},
	"a poll is reset": {way: on("poll", reset), want: map[string]string{"poll": "request_reset"}, uses: "websocket"},
	"no POST": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		status(405)(w, r)
		return true
	}}, want: map[string]string{"sse": "attach_status", "stream": "attach_status", "poll": "attach_status post_blocked"}, uses: "websocket"},

	"only polls": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		switch transportOf(r) {
		case protocol.WebSocket:
			status(403)(w, r)
		case protocol.SSE, protocol.Stream:
			silence(w, r)
		default:
			return false
		}
		return true
	}}, want: map[string]string{"websocket": "upgrade_blocked", "sse": "stream_silent", "stream": "stream_silent"}, uses: "poll"},
	"only the stream and polls": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		switch transportOf(r) {
		case protocol.WebSocket, protocol.SSE:
			status(403)(w, r)
			return true
		}
		return false
	}}, want: map[string]string{"websocket": "upgrade_blocked", "sse": "attach_status"}, uses: "stream"},
	"no token":      {way: wanting(""), want: everywhere("token_missing"), contains: "The gateway wants a token: there is no token."},
	"a good token":  {way: wanting("good"), options: Options{Token: "good"}, uses: "websocket"},
	"a bad token":   {way: wanting("good"), options: Options{Token: "bad"}, want: everywhere("token_refused"), contains: "does not take this token: no key made it."},
	"an open door":  {options: Options{Token: "any"}, uses: "websocket"},
	"not this host": {way: on("", problem(403, "forbidden", "only for this machine")), want: map[string]string{"reach": "forbidden"}, skipped: true, contains: "only for this machine"},
	"too many":      {way: on("", problem(429, "rate_limited", "wait")), want: map[string]string{"reach": "refused"}, skipped: true},
	"a proxy's 401": {way: on("sse", status(401)), options: Options{Token: "any"}, want: map[string]string{"sse": "attach_status"}, uses: "websocket"},
	"a token's end": {way: on("sse", stream(nil, func(send func([]byte)) {
		after(0, 250*time.Millisecond)(send)
		time.Sleep(50 * time.Second)
		send([]byte(`{"op":"error","code":"expired","message":"the token expired"}`))
	})), options: Options{Idle: 75 * time.Second, Token: "any"}, want: map[string]string{"websocket": "idle_held", "sse": "token_refused", "stream": "idle_held", "poll": "idle_held"}, uses: "websocket"},
	"nothing works": {way: way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/ping" {
			return false
		}
		status(403)(w, r)
		return true
	}}, want: map[string]string{"websocket": "upgrade_blocked", "sse": "attach_status", "stream": "attach_status", "poll": "attach_status"}},

	"idle":                    {options: Options{Idle: 75 * time.Second}, want: map[string]string{"websocket": "idle_held", "sse": "idle_held", "stream": "idle_held", "poll": "idle_held"}, uses: "websocket", contains: "Held idle for 75.0 s"},
	"idle, without WebSocket": {way: on("websocket", status(403)), options: Options{Idle: 75 * time.Second}, want: map[string]string{"websocket": "upgrade_blocked", "sse": "idle_held", "stream": "idle_held", "poll": "idle_held"}, uses: "sse"},
	"idle is cut": {way: on("sse", func(w http.ResponseWriter, r *http.Request) {
		send := open(w, r, nil)
		after(0, 250*time.Millisecond)(send)
		select {
		case <-r.Context().Done():
		case <-time.After(30 * time.Second):
		}
	}), options: Options{Idle: 75 * time.Second}, want: map[string]string{"websocket": "idle_held", "sse": "idle_cut", "stream": "idle_held", "poll": "idle_held"}, uses: "websocket", contains: "Cut after 30.2 s, 30.0 s of them in silence"},
	"idle polls are cut": {way: on("poll", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.Contains(string(b), `"wait":75`) {
			time.Sleep(time.Minute)
			status(504)(w, r)
			return
		}
		way{}.serve(w, r)
	}), options: Options{Idle: 75 * time.Second}, want: map[string]string{"websocket": "idle_held", "sse": "idle_held", "stream": "idle_held", "poll": "idle_cut"}, uses: "websocket", contains: "Cut after 60.0 s"},
}

// wanting is a gateway that wants the token.
func wanting(token string) way {
	return way{fault: func(w http.ResponseWriter, r *http.Request) bool {
		shown, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		transport := transportOf(r)
		why := "no key made it"
		switch {
		case transport == "", shown == token && token != "":
			return false
		case shown == "":
			why = "there is no token"
		}
		if transport == protocol.WebSocket {
			socket(func(send func([]byte)) { send([]byte(`{"op":"error","code":"unauthorized","message":"` + why + `"}`)) })(w, r)
		} else {
			problem(401, "unauthorized", why)(w, r)
		}
		return true
	}}
}

// everywhere is a finding of all transports.
func everywhere(code string) map[string]string {
	return map[string]string{"websocket": code, "sse": code, "stream": code, "poll": code}
}

// withTLS gives the way a certificate; trusted, its authority is.
func withTLS(authority string, valid time.Duration, trusted bool, names ...string) func(*testing.T, *way) {
	return func(t *testing.T, w *way) {
		certificate, roots := certificate(t, authority, valid, names...)
		w.certificate, w.roots = certificate, x509.NewCertPool()
		if trusted {
			w.roots = roots
		}
	}
}

func TestEachFaultIsFoundAndEachFindingHasAFault(t *testing.T) {
	found := map[string]bool{"upgrade_failed": true, "origin_refused": true} // of browsers: doctor.test.ts
	ran := 0
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			ran++
			synctest.Test(t, func(t *testing.T) {
				if f.make != nil {
					f.make(t, &f.way)
				}
				began := time.Now()
				report := examine(t, f.way, f.options)
				if took := time.Since(began); took > 15*time.Second+f.options.Idle {
					t.Errorf("it took %v", took)
				}
				f.check(t, report)
				for _, p := range report.Probes {
					for _, finding := range p.Findings {
						found[finding.Code] = true
					}
				}
			})
		})
	}
	if ran < len(faults) {
		return // a part of them was asked for
	}
	for code := range doctor.Words.Findings {
		if !found[code] {
			t.Errorf("nothing here makes the doctor find %s", code)
		}
	}
}

func (f fault) check(t *testing.T, report *doctor.Report) {
	t.Helper()
	var texts []string
	for _, p := range report.Probes {
		var codes []string
		for _, finding := range p.Findings {
			codes = append(codes, finding.Code)
			texts = append(texts, finding.Text)
		}
		if got, want := strings.Join(codes, " "), f.want[p.Name]; got != want {
			t.Errorf("%s: found %q, want %q: %s", p.Name, got, want, texts)
		}
		if want := f.skipped && p.Name != "reach"; p.Skipped != want {
			t.Errorf("%s: skipped is %v", p.Name, p.Skipped)
		}
	}
	if report.Transport != f.uses || report.Works != (f.uses != "") {
		t.Errorf("the client uses %q (works: %v), want %q", report.Transport, report.Works, f.uses)
	}
	if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, f.contains) }) && f.contains != "" {
		t.Errorf("found %q, want something with %q", texts, f.contains)
	}
	for _, text := range texts {
		if strings.Contains(text, "{") {
			t.Errorf("%q has a value that nobody gave", text)
		}
	}
}

package entrance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// TestAnACMEServerThatFailsIsAskedSeldom: no handshake makes it be asked, and none waits for it twice.
func TestAnACMEServerThatFailsIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		i := newIssued(&ACME{Domains: []string{"a.example.com"}, Directory: "https://acme.invalid/", AcceptTerms: true, Cache: t.TempDir()}, func() time.Duration { return 10 * time.Second }, slog.New(slog.NewTextHandler(&log, nil)))
		var asked []time.Duration
		began := time.Now()
		answer := make(chan error)
		i.witness.next = roundTripper(func(*http.Request) (*http.Response, error) {
			asked = append(asked, time.Since(began))
			return nil, <-answer
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			i.keep(ctx)
			close(done)
		}()
		handshake := func() time.Duration {
			t.Helper()
			at := time.Now()
			if _, err := i.certificate(&tls.ClientHelloInfo{ServerName: "A.example.com"}); err == nil || !strings.Contains(err.Error(), "yet") {
				t.Errorf("got %v", err)
			}
			return time.Since(at)
		}
		if took := handshake(); took != 10*time.Second {
			t.Errorf("the first handshake waited for %s, want 10s", took)
		}
		go func() { // until it is the last
			for {
				select {
				case answer <- errors.New("no such host"):
				case <-done:
					return
				}
			}
		}()
		synctest.Wait()
		for range 1000 {
			if took := handshake(); took != 0 {
				t.Fatalf("a handshake after the failure waited for %s", took)
			}
			time.Sleep(10 * time.Second)
		}
		synctest.Wait() // until the last failure is logged
		want := []time.Duration{0, 2, 6, 14, 30, 62, 122}
		for at, minutes := range want {
			if len(asked) != len(want) || asked[at].Truncate(time.Minute) != minutes*time.Minute {
				t.Fatalf("it was asked after %s", asked)
			}
		}
		if n := strings.Count(log.String(), "port 443"); n != len(want) {
			t.Errorf("%d failures are logged, want %d, in\n%s", n, len(want), &log)
		}
		wantSeries(t, i, map[string]float64{`fairlead_acme_failures_total{a.example.com}`: float64(len(want))})
		cancel()
		<-done
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestACertificateThatIsNotRenewedIsLogged looks twice at ones that are good for so many days.
func TestACertificateThatIsNotRenewedIsLogged(t *testing.T) {
	a := certtest.New(t)
	for _, c := range []struct {
		whole, left int
		want        bool
	}{
		{90, 89, false}, {90, 31, false}, {90, 30, false}, {90, 29, true}, {90, 1, true}, {90, -1, true},
		{30, 11, false}, {30, 9, true}, {365, 31, false}, {365, 29, true}, {6, 3, false}, {6, 1, true},
	} {
		var log bytes.Buffer
		d := &domain{name: "a.example.com"}
		i := &issued{log: slog.New(slog.NewTextHandler(&log, nil)), witness: new(witness), domains: []*domain{d}}
		until := time.Now().AddDate(0, 0, c.left)
		cert := &tls.Certificate{Leaf: a.Until(until.AddDate(0, 0, -c.whole), until)}
		i.approve(d, cert)
		if strings.Contains(log.String(), "not renewed") {
			t.Errorf("%+v: it is logged at the first look, before there can be another one", c)
		}
		i.approve(d, cert)
		if got := strings.Contains(log.String(), "not renewed"); got != c.want || (d.failed.Load() == 1) != c.want {
			t.Errorf("%+v: it is logged: %v, and counted: %d", c, got, d.failed.Load())
		}
		next := time.Now().AddDate(0, 0, 90)
		i.approve(d, &tls.Certificate{Leaf: a.Until(time.Now(), next)})
		if !strings.Contains(log.String(), "is renewed") {
			t.Errorf("the next one is not logged:\n%s", &log)
		}
		wantSeries(t, i, map[string]float64{`fairlead_certificate_not_after_timestamp_seconds{a.example.com}`: float64(next.Unix())})
	}
}

// TestWhyARenewalFailsIsLogged serves with a kept certificate that the ACME server does not renew.
func TestWhyARenewalFailsIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, cache := certtest.New(t), t.TempDir()
		a.Keep(cache, "a.example.com", time.Now().AddDate(0, 0, 20))
		var log bytes.Buffer
		i := newIssued(&ACME{Domains: []string{"a.example.com"}, Directory: "https://acme.invalid/", AcceptTerms: true, Cache: cache}, func() time.Duration { return 0 }, slog.New(slog.NewTextHandler(&log, nil)))
		i.witness.next = roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 403, Header: http.Header{"Content-Type": {"application/problem+json"}},
				Body: io.NopCloser(strings.NewReader(`{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids it"}`)),
			}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		kept := make(chan struct{})
		go func() {
			i.keep(ctx)
			close(kept)
		}()
		time.Sleep(50*time.Hour + time.Minute)
		if _, err := i.certificate(&tls.ClientHelloInfo{ServerName: "a.example.com"}); err != nil {
			t.Error(err)
		}
		cancel()
		<-kept
		if n := strings.Count(log.String(), `not renewed: `); n != 3 || strings.Count(log.String(), `last_problem="urn:ietf:params:acme:error:caa: CAA forbids it"`) != n {
			t.Errorf("it is logged %d times in two days, want at once and each day, with the reason:\n%s", n, &log)
		}
		wantSeries(t, i, map[string]float64{`fairlead_acme_failures_total{a.example.com}`: 50})
	})
}

func TestAWitnessRemembersWhatTheACMEServerSaidLast(t *testing.T) {
	var status int
	var text string
	w := &witness{next: roundTripper(func(*http.Request) (*http.Response, error) {
		if status == 0 {
			return nil, errors.New(text)
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}}, Body: io.NopCloser(strings.NewReader(text))}, nil
	})}
	for _, c := range []struct {
		status     int
		text, want string
	}{
		{200, `{"status":"pending"}`, ""},
		{429, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}`, "urn:ietf:params:acme:error:rateLimited: too many"},
		{200, `{"type":"tls-alpn-01","status":"valid","detail":"no problem"}`, "urn:ietf:params:acme:error:rateLimited: too many"},
		{400, `{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}`, "urn:ietf:params:acme:error:rateLimited: too many"},
		{200, `{"status":"invalid","error":{"type":"order","detail":"refused"}}`, "order: refused"},
		{200, `{"status":"invalid","challenges":[{"type":"dns-01"},{"type":"tls-alpn-01","error":{"type":"connection","detail":"timeout"}}]}`, "connection: timeout"},
		{500, `nonsense`, "connection: timeout"},
		{0, "no such host", "no such host"},
		{403, `{"detail":"` + strings.Repeat("x", 100<<10) + `"}`, "no such host"}, // too much to look at
	} {
		status, text = c.status, c.text
		response, err := w.RoundTrip(nil)
		if got := w.said(); got != c.want {
			t.Errorf("after %d %.80s: got %q, want %q", c.status, c.text, got, c.want)
		}
		if c.status == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(response.Body); string(got) != c.text || err != nil {
			t.Errorf("%.80s: %d of %d bytes are handed on, %v", c.text, len(got), len(c.text), err)
		}
	}
}

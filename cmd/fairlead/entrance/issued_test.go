package entrance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
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
		i.manager.Client.HTTPClient = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			asked = append(asked, time.Since(began))
			return nil, <-answer
		})}
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
		cancel()
		<-done
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestACertificateThatIsNotRenewedIsLogged looks at ones of ninety days.
func TestACertificateThatIsNotRenewedIsLogged(t *testing.T) {
	a := certtest.New(t)
	for days, want := range map[int]bool{89: false, 31: false, 16: false, 14: true, 1: true, -1: true} {
		var log bytes.Buffer
		i := &issued{log: slog.New(slog.NewTextHandler(&log, nil))}
		until := time.Now().AddDate(0, 0, days)
		cert := &tls.Certificate{Leaf: a.Until(until.AddDate(0, 0, -90), until)}
		for range 2 {
			i.approve(&domain{name: "a.example.com"}, cert)
		}
		if got := strings.Contains(log.String(), "not renewed"); got != want {
			t.Errorf("with %d days left it is logged: %v, want %v", days, got, want)
		}
	}
}

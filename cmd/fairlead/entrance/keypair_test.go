package entrance

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/entrance/certtest"
)

// TestANewCertificateIsUsedWithinAMinute replaces the files under a server.
func TestANewCertificateIsUsedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certtest.New(t)
		cert, key := a.Files()
		var log bytes.Buffer
		logged := func(want string, times int) {
			t.Helper()
			if got := strings.Count(log.String(), want); got != times {
				t.Errorf("%q is logged %d times, want %d, in\n%s", want, got, times, &log)
			}
		}
		pair, err := openKeyPair(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serial := func() int64 {
			t.Helper()
			got, err := pair.certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return got.Leaf.SerialNumber.Int64()
		}
		want := func(when string, n int64) {
			t.Helper()
			if got := serial(); got != n {
				t.Errorf("%s: got certificate %d, want %d", when, got, n)
			}
		}
		want("at first", 2)
		a.Issue(cert, key, 3, time.Now().Add(time.Hour))
		time.Sleep(time.Minute - 1)
		want("within the minute", 2)
		time.Sleep(time.Nanosecond)
		want("after a minute", 3)
		logged("read again", 1)

		a.Issue(cert, key, 4, time.Now().Add(time.Hour))
		if err := pair.reload(); err != nil {
			t.Fatal(err)
		}
		want("after a reload", 4)

		for _, broken := range []func(){
			func() { _ = os.WriteFile(cert, []byte("nonsense"), 0o600) },
			func() { a.Issue(cert, t.TempDir()+"/other.pem", 5, time.Now().Add(time.Hour)) },
			func() { _ = os.Remove(key) },
		} {
			log.Reset()
			broken()
			for range 5 {
				time.Sleep(time.Minute)
				want("while the files are broken", 4)
			}
			logged("level=ERROR", 1)
			if err := pair.reload(); err == nil || !strings.Contains(err.Error(), cert) || !strings.Contains(err.Error(), "PEM") {
				t.Errorf("reload: got %v", err)
			}
			want("after a reload", 4)
		}

		log.Reset()
		a.Issue(cert, key, 6, time.Now().Add(time.Hour))
		for range 120 {
			time.Sleep(time.Minute)
			want("mended", 6)
		}
		logged("has expired", 1)
		a.Issue(cert, key, 7, time.Now().Add(-time.Hour))
		for range 5 {
			time.Sleep(time.Minute)
			want("expired from the beginning", 7)
		}
		logged("has expired", 2)
	})
}

package admission

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestUploadsAtATimeAreLimited(t *testing.T) {
	sub, nobody, key := someone, Client{IP: someone.IP}, Client{IP: someone.IP, APIKey: "backend", Trusted: true}
	elsewhere := sub
	elsewhere.IP = another.IP
	w := doorWith(Limits{UploadsPerClient: 2})
	var all []func()
	upload := func(c Client) {
		t.Helper()
		done, err := w.Upload(c)
		want(t, err)
		all = append(all, done)
	}
	upload(sub)
	upload(elsewhere)
	_, err := w.Upload(sub)
	if wait := w.wantRefused(t, err, protocol.RateLimited, "uploads_per_client"); wait != 5*time.Second {
		t.Errorf("asks for %v", wait)
	}
	upload(nobody)
	upload(nobody)
	_, err = w.Upload(nobody)
	w.wantRefused(t, err, protocol.RateLimited, "uploads_per_client")
	for range 5 {
		upload(key)
		upload(local)
	}
	all[0]()
	all = all[1:]
	upload(sub)
	for _, done := range all {
		done()
	}
	w.wantNothingTaken(t)
}

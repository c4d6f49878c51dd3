package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
)

func TestTheDoctorsPageIsRoutedWithItsFiles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for path, kind := range map[string]string{
			"/doctor": "text/html", "/doctor/style.css": "text/css", "/doctor/icon.svg": "image/svg+xml", "/doctor/findings.json": "application/json",
			"/doctor/doctor.js": "javascript", "/doctor/probe.js": "javascript", "/doctor/judge.js": "javascript",
		} {
			res := w.send(request{method: "GET", path: path})
			if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.Contains(got, kind) {
				t.Errorf("%s: got %d %s, want 200 %s", path, res.StatusCode, got, kind)
			}
			_ = res.Body.Close()
		}
	})
}

func TestThePagesRefuseWhatTheyDoNotServe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for path, want := range map[string]string{
			"/nothing": "PROTOCOL.md lists", "/static/demo.js": "PROTOCOL.md lists", "/demo.go": "PROTOCOL.md lists",
			"/doctor/nothing": "the page is at /doctor", "/doctor/index.html": "the page is at /doctor", "/doctor/static/doctor.js": "the page is at /doctor",
		} {
			res := w.send(request{method: "GET", path: path})
			var problem struct{ Code, Detail string }
			if err := json.NewDecoder(res.Body).Decode(&problem); err != nil || res.StatusCode != 404 || problem.Code != "not_found" || !strings.Contains(problem.Detail, want) {
				t.Errorf("%s: got %d %+v %v, want the problem not_found that says %q", path, res.StatusCode, problem, err, want)
			}
			_ = res.Body.Close()
		}
		for _, path := range []string{"/", "/doctor"} {
			res := w.send(request{method: "POST", path: path})
			if got := res.Header.Get("Allow"); res.StatusCode != 405 || got != "GET, HEAD" {
				t.Errorf("POST %s: got %d, Allow %q, want 405 and GET, HEAD", path, res.StatusCode, got)
			}
			_ = res.Body.Close()
		}
	})
}

func TestASlashAfterTheDoctorLeadsToItsPage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		res := w.send(request{method: "GET", path: "/doctor/"})
		if at := res.Request.URL.Path; res.StatusCode != http.StatusOK || at != "/doctor" {
			t.Errorf("got %d at %s, want 200 at /doctor", res.StatusCode, at)
		}
		_ = res.Body.Close()
	})
}

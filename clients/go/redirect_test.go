package fairlead

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

// webs is a transport to servers by their hosts; it notes what each is asked.
type webs struct {
	hosts map[string]http.HandlerFunc
	all   []seen
}

func (w *webs) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
	}
	w.all = append(w.all, seen{r.URL.Scheme + "://" + r.URL.Host, r.Header.Get("Authorization"), body})
	answer := &answerer{header: http.Header{}}
	w.hosts[r.URL.Scheme+"://"+r.URL.Host](answer, r)
	return &http.Response{StatusCode: answer.status, Header: answer.header, Body: io.NopCloser(&answer.body), Request: r}, nil
}

type answerer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answerer) Header() http.Header         { return a.header }
func (a *answerer) WriteHeader(status int)      { a.status = status }
func (a *answerer) Write(b []byte) (int, error) { return a.body.Write(b) }

func TestATokenIsNotTakenToAnotherOriginByARedirect(t *testing.T) {
	for _, test := range []struct {
		from, to string
		follows  bool
	}{
		{"https://rt.test", "https://rt.test", true},
		{"https://rt.test:443", "https://rt.test", true},
		{"http://rt.test", "https://rt.test", true},
		{"https://rt.test", "http://rt.test", false},
		{"https://rt.test", "https://rt.test:8443", false},
		{"http://rt.test:8080", "https://rt.test", false},
		{"https://rt.test", "https://evil.test", false},
		{"https://rt.test", "https://eu.rt.test", false}, // net/http would
		{"https://rt.test", "https://rt.test.evil.test", false},
	} {
		for _, method := range []string{"publish", "history", "websocket", "poll"} {
			w := &webs{}
			w.hosts = map[string]http.HandlerFunc{}
			w.hosts[test.to] = func(out http.ResponseWriter, r *http.Request) { answer(out, 200, map[string]any{"id": "a-1"}) }
			w.hosts[test.from] = func(out http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("moved") {
					answer(out, 200, map[string]any{"id": "a-1"})
					return
				}
				http.Redirect(out, r, test.to+r.URL.Path+"?moved", http.StatusTemporaryRedirect)
			}
			c, err := New(test.from, Options{Token: StaticToken("secret-1"), HTTPClient: &http.Client{Transport: w}})
			if err != nil {
				t.Fatal(err)
			}
			switch method {
			case "publish":
				_, err = c.Publish(t.Context(), "chat.1", Text("a"))
			case "history":
				_, err = c.History(t.Context(), "chat.1", protocol.Range{})
			default:
				with, _ := c.tokens.get(t.Context(), 0, false)
				_, err = c.open(t.Context(), protocol.Transport(method), &protocol.Hello{}, with, func() {})
			}
			if followed := len(w.all) == 2; followed != test.follows {
				t.Errorf("%s from %s to %s: %v, %v", method, test.from, test.to, w.all, err)
			}
			for _, s := range w.all {
				if s.token != "Bearer secret-1" || strings.Contains(s.body, "secret") {
					t.Errorf("%s showed %+v", method, s)
				}
			}
			if e, ok := errors.AsType[*StatusError](err); !test.follows && (!ok || e.Target == "" || !strings.Contains(err.Error(), e.Target)) {
				t.Errorf("%s from %s to %s: got %v", method, test.from, test.to, err)
			}
		}
	}
}

func TestWithoutATokenRedirectsAreFollowedAsTheHTTPClientSays(t *testing.T) {
	w := &webs{hosts: map[string]http.HandlerFunc{
		"http://a.test": func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, "http://b.test"+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"http://b.test": func(out http.ResponseWriter, r *http.Request) {
			answer(out, 201, map[string]any{"id": "a-1"})
		},
		"http://c.test": func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, "http://c.test"+r.URL.Path, http.StatusTemporaryRedirect)
		},
	}}
	own := &http.Client{Transport: w}
	publish := func(address string) error {
		c, err := New(address, Options{HTTPClient: own})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one attempt
		_, err = c.Publish(context.WithoutCancel(ctx), "chat.1", Text("a"))
		return err
	}
	if err := publish("http://a.test"); err != nil {
		t.Error(err)
	}
	own.CheckRedirect = func(next *http.Request, _ []*http.Request) error { return http.ErrUseLastResponse }
	if err := publish("http://c.test"); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("got %v", err)
	}
	if own.CheckRedirect == nil || w.all[len(w.all)-1].token != "" {
		t.Error("the HTTP client was changed")
	}
}

func TestOriginsAreTheSameWhateverTheirPortsAreWritten(t *testing.T) {
	parse := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	if !isFor(parse("https://a"), parse("https://a:443")) || !isFor(parse("http://a:80"), parse("http://a")) || isFor(parse("http://a:443"), parse("https://a:443")) {
		t.Error("ports are not looked at")
	}
}

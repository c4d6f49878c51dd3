package fairlead

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// purse is an application that has tokens to give.
type purse struct {
	mu    sync.Mutex
	asked int
	knew  int                    // times that it was told of a refusal
	give  func() (string, error) // called under mu
}

func (p *purse) token(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if TokenRefused(ctx) {
		p.knew++
	}
	return p.give()
}

// newGuarded starts a fake that wants tokens, and returns a client that has some, each good for so long.
func newGuarded(t *testing.T, o Options, life time.Duration) (*fake, *Client, *purse) {
	t.Helper()
	g, p := newGuard(), new(purse)
	p.give = func() (string, error) { return g.issue(life), nil }
	if o.Token == nil {
		o.Token = p.token
	}
	f, c := newFake(t, o)
	f.guard = g
	return f, c, p
}

func (p *purse) want(t *testing.T, asked, knew int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != asked || p.knew != knew {
		t.Errorf("%d tokens were asked for, %d because of a refusal: want %d and %d", p.asked, p.knew, asked, knew)
	}
}

func TestEachRequestShowsTheTokenInItsHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c, p := newGuarded(t, Options{}, 0)
		if _, err := c.Publish(t.Context(), "chat.1", Text("a")); err != nil {
			t.Fatal(err)
		}
		stream, err := c.PublishStream("chat.1")
		if err == nil {
			err = stream.Send(t.Context(), Text("b"))
		}
		if err == nil {
			_, err = stream.Close(t.Context())
		}
		if err == nil {
			_, err = c.History(t.Context(), "chat.1", protocol.Range{})
		}
		if err != nil {
			t.Fatal(err)
		}
		const messages = "/v1/channels/chat.1/messages secret-1"
		if got, want := f.guard.shows(), "POST "+messages+", POST "+messages+", GET "+messages; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, transport := range protocol.Transports() {
			c.transports = []protocol.Transport{transport}
			sub := follow(t, c, fromStart)
			sub.until(2, time.Minute)
			sub.sub.Close()
			synctest.Wait()
			got, want := f.guard.shows(), string(transport)+" secret-1"
			if transport == protocol.Poll { // several
				got, _, _ = strings.Cut(got, ",")
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		p.want(t, 1, 0)
	})
}

// TestATokenIsRenewedWithoutAGap follows what is said ten times a second
// through three renewals: one attachment, nothing lost, nothing twice.
func TestATokenIsRenewedWithoutAGap(t *testing.T) {
	for _, transport := range protocol.Transports() {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{transport}}, 20*time.Second)
				sub := follow(t, c, fromStart)
				stop := f.talk()
				sub.until(600, 2*time.Minute)
				said := stop()
				sub.until(len(said), time.Minute)
				sub.want(strings.Join(said, " "), "+"+string(transport))
				p.want(t, 4, 0)
				want := string(transport) + " secret-1, " + map[protocol.Transport]string{
					protocol.WebSocket: "auth secret-2, auth secret-3, auth secret-4",
					protocol.SSE:       "POST /v1/commands secret-2, auth by POST secret-2, POST /v1/commands secret-3, auth by POST secret-3, POST /v1/commands secret-4, auth by POST secret-4",
				}[transport]
				if transport == protocol.Stream {
					want = "stream secret-1, POST /v1/commands secret-2"
				}
				if got := f.guard.shows(); !strings.HasPrefix(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}

// An idle poll may not outlive its token.
func TestAnIdlePollEndsInTimeForTheNextToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{protocol.Poll}}, 7*time.Second)
		f.beat = 20 * time.Second
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		time.AfterFunc(time.Minute, func() { f.publish("a") })
		sub.until(1, 2*time.Minute)
		sub.want("a", "+poll")
		if p.asked < 9 || p.asked > 13 {
			t.Errorf("%d tokens were asked for", p.asked)
		}
	})
}

func TestAnExpiredTokenIsReplacedAtOnceAndNothingIsLost(t *testing.T) {
	for _, mute := range []bool{false, true} {
		for _, transport := range protocol.Transports() {
			t.Run(fmt.Sprint(transport, mute), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if mute && transport != protocol.WebSocket {
						return // only that has a code for it
					}
					f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{transport}}, 0)
					f.guard.mute = mute
					sub := follow(t, c, fromStart)
					stop := f.talk()
					for range 3 {
						time.AfterFunc(20*time.Second, f.guard.expire)
						sub.until(len(sub.texts)+300, time.Minute)
					}
					said := stop()
					sub.until(len(said), time.Minute)
					notes := strings.Repeat(" -"+string(transport)+" +"+string(transport), 3)
					sub.want(strings.Join(said, " "), "+"+string(transport)+notes)
					p.want(t, 4, 3)
				})
			})
		}
	}
}

func TestAPublishIsRepeatedWithAnotherToken(t *testing.T) {
	for _, code := range []protocol.Code{protocol.Expired, protocol.Unauthorized} {
		synctest.Test(t, func(t *testing.T) {
			f, c, p := newGuarded(t, Options{}, 0)
			begun := time.Now()
			for i := range 5 {
				switch {
				case i == 0:
				case code == protocol.Expired:
					f.guard.expire()
				default:
					f.guard.revoke()
				}
				if _, err := c.Publish(t.Context(), "chat.1", Text(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(begun); len(f.log) != 5 || code == protocol.Expired && took != 0 || code != protocol.Expired && took != 4*tokenRevoked {
				t.Errorf("%s: %d messages after %v", code, len(f.log), time.Since(begun))
			}
			p.want(t, 5, 4)
		})
	}
}

func TestAStreamGoesOnWithAnotherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c, _ := newGuarded(t, Options{}, 0)
		stream, err := c.PublishStream("chat.1")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if i%10 == 0 {
				f.guard.expire()
			}
			time.Sleep(3 * time.Second)
			if err := stream.Send(t.Context(), Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if result, err := stream.Close(t.Context()); err != nil || result.Count != 100 || len(f.log) != 100 {
			t.Errorf("got %+v, %v, and %d messages", result, err, len(f.log))
		}
		for i, m := range f.log {
			if string(m.Payload) != fmt.Sprintf("%q", fmt.Sprint(i)) {
				t.Errorf("message %d is %s", i, m.Payload)
			}
		}
	})
}

// TestAPublishWithoutAGoodTokenFails says when that is, and how soon.
func TestAPublishWithoutAGoodTokenFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		give  func(g *guard, n int) (string, error)
		code  protocol.Code // of the error; empty: it is another one
		asked int           // 0: some
		took  time.Duration
	}{
		{"no such tokens", func(_ *guard, n int) (string, error) { return fmt.Sprint("forged-", n), nil }, protocol.Unauthorized, 2, 0},
		{"the same one", func(*guard, int) (string, error) { return "forged", nil }, protocol.Unauthorized, 2, 0},
		{"the same old one", func(g *guard, n int) (string, error) {
			if n == 1 {
				g.issue(time.Nanosecond)
				time.Sleep(time.Second)
			}
			return "secret-1", nil
		}, protocol.Expired, 2, time.Second},
		{"none at all", func(*guard, int) (string, error) { return "", nil }, protocol.Unauthorized, 2, 0},
		{"only old ones", func(g *guard, _ int) (string, error) {
			defer time.Sleep(time.Microsecond)
			return g.issue(1), nil
		}, protocol.Expired, 0, retryWindow},
		{"an issuer that is away", func(*guard, int) (string, error) { return "", errIssuer }, "", 0, retryWindow},
		{"something else", func(*guard, int) (string, error) { return "-----BEGIN KEY----- xyz", nil }, "", 0, retryWindow},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c, p := newGuarded(t, Options{}, 0)
				p.give = func() (string, error) { return test.give(f.guard, p.asked) }
				begun := time.Now()
				_, err := c.Publish(t.Context(), "chat.1", Text("a"))
				e, ok := errors.AsType[*protocol.Error](err)
				if err == nil || ok != (test.code != "") || ok && e.Code != test.code {
					t.Errorf("got %v", err)
				}
				if f.guard.shows() != "" && test.name == "something else" {
					t.Error("it was sent")
				}
				if strings.Contains(fmt.Sprint(err), "xyz") {
					t.Errorf("it tells the token: %v", err)
				}
				if took := time.Since(begun); took < test.took/2 || took > test.took {
					t.Errorf("took %v", took)
				}
				if test.asked > 0 && p.asked != test.asked || p.asked > 20 {
					t.Errorf("%d tokens were asked for", p.asked)
				}
			})
		})
	}
}

// TestOneTokenIsAskedForByManyAtATime lets many find out that the token has expired.
func TestOneTokenIsAskedForByManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c, p := newGuarded(t, Options{}, 0)
		give := p.give
		p.give = func() (string, error) {
			time.Sleep(2 * time.Second)
			return give()
		}
		var all sync.WaitGroup
		for range 3 {
			sub, err := c.Subscribe(t.Context(), map[string]protocol.Start{"chat.1": fromStart})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				defer sub.Close()
				for messages := 0; messages < 40; {
					e, err := sub.Next(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if _, ok := e.(*Message); ok {
						messages++
					}
				}
			})
		}
		for round := range 2 {
			for i := range 20 {
				all.Go(func() {
					time.Sleep(time.Duration(round) * 10 * time.Second)
					if _, err := c.Publish(t.Context(), "chat.1", Text(fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				})
			}
		}
		time.Sleep(9 * time.Second)
		f.guard.expire()
		all.Wait()
		p.want(t, 2, 1)
	})
}

func TestWhoeverGivesUpWaitingForATokenHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, p := newGuarded(t, Options{}, 0)
		give := p.give
		p.give = func() (string, error) {
			if p.asked == 1 {
				return "", errIssuer
			}
			time.Sleep(time.Second)
			return give()
		}
		_, _ = c.tokens.get(t.Context(), 0, false)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := c.Publish(t.Context(), "chat.1", Text("a")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if _, err := c.Publish(ctx, "chat.1", Text("b")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		all.Wait()
	})
}

func TestASubscriptionEndsWhenItsTokenIsNoGoodAndNeitherIsTheNext(t *testing.T) {
	for _, transport := range protocol.Transports() {
		synctest.Test(t, func(t *testing.T) {
			f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{transport}}, 0)
			give := p.give
			p.give = func() (string, error) {
				if p.asked == 1 {
					return give()
				}
				return fmt.Sprint("forged-", p.asked), nil
			}
			sub := follow(t, c, protocol.Start{})
			sub.attached()
			time.AfterFunc(time.Second, f.guard.revoke)
			_, err := sub.next()
			if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Unauthorized || e.Message != "there is no such token" {
				t.Errorf("%s: got %v", transport, err)
			}
			p.want(t, 2, 1)
		})
	}
}

// next takes events until there is an error.
func (f *follower) next() (Event, error) {
	for {
		e, err := f.sub.Next(f.t.Context())
		if err != nil {
			return nil, err
		}
		f.note(e)
	}
}

func TestAStaticTokenEndsWithItsRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c, _ := newGuarded(t, Options{Token: StaticToken(" secret-1\n")}, 0)
		f.guard.issue(time.Minute)
		sub := follow(t, c, protocol.Start{})
		_, err := sub.next()
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Expired {
			t.Errorf("got %v", err)
		}
		sub.want("", "+websocket -websocket")
		if _, err := c.Publish(t.Context(), "chat.1", Text("a")); err == nil || !strings.Contains(err.Error(), "the token has expired") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnAttachThatIsForbiddenIsTheEnd(t *testing.T) {
	for _, transport := range protocol.Transports() {
		synctest.Test(t, func(t *testing.T) {
			f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{transport, protocol.Poll}}, 0)
			f.fault = func(_ protocol.Transport, _ int, out *outlet) bool {
				if f.open(out) != nil {
					return true
				}
				if out.conn != nil {
					f.guard.close(out, errNotGranted)
					out.conn.Close()
					return true
				}
				out.w.Header().Del("Content-Type")
				problem(out.w, errNotGranted)
				return true
			}
			sub := follow(t, c, protocol.Start{})
			_, err := sub.next()
			if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Forbidden || len(f.attaches) != 1 {
				t.Errorf("%s: got %v after %s", transport, err, f.attaches)
			}
			p.want(t, 1, 0)
		})
	}
}

// TestWhatTheTokenDoesNotAllowEndsAndTheRestGoesOn asks for too much, and then gets a smaller grant.
func TestWhatTheTokenDoesNotAllowEndsAndTheRestGoesOn(t *testing.T) {
	for _, transport := range protocol.Transports() {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c, p := newGuarded(t, Options{Transports: []protocol.Transport{transport}}, 0)
				p.give = func() (string, error) {
					return f.guard.issue(20*time.Second, [][]string{{"chat.1", "chat.2"}, {"chat.1"}, {"nothing"}}[min(p.asked-1, 2)]...), nil
				}
				s, err := c.Subscribe(t.Context(), map[string]protocol.Start{"chat.1": fromStart, "chat.2": {}, "chat.3": {}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				sub := &follower{t: t, sub: s}
				stop := f.talk()
				sub.until(200, time.Minute)
				sub.want(strings.Join(sub.texts, " "), "+"+string(transport)+" no chat.3: forbidden no chat.2: forbidden")
				f.network.leave()() // each attaches anew
				sub.until(250, time.Minute)
				last := f.hellos[len(f.hellos)-1]
				if len(last.Channels) != 1 || last.Channels["chat.1"].After == nil {
					t.Errorf("attached again with %+v", last)
				}
				_, err = sub.next()
				stop()
				if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Forbidden {
					t.Errorf("got %v", err)
				}
				if last := sub.notes[len(sub.notes)-1]; last != "no chat.1: forbidden" {
					t.Errorf("got %s", sub.notes)
				}
			})
		})
	}
}

func TestAReplyAndAnErrorSayWhenToAskAgain(t *testing.T) {
	f, err := decodeFrame([]byte(`{"op":"error","code":"rate_limited","message":"wait","retry_after_ms":2500}`))
	if err != nil || f.err.RetryAfter != 2500*time.Millisecond || f.err.Message != "wait" {
		t.Errorf("got %+v, %v", f.err, err)
	}
	f, err = decodeFrame([]byte(`{"op":"reply","to":7,"error":{"code":"unavailable","message":"wait"},"retry_after_ms":1500}`))
	if err != nil || askedWait(f.reply.err()) != 1500*time.Millisecond {
		t.Errorf("got %+v, %v", f.reply, err)
	}
	if f, err = decodeFrame([]byte(`{"op":"reply","to":7}`)); err != nil || f.reply.err() == nil {
		t.Errorf("got %+v, %v", f.reply, err)
	}
}

// seen is what a server on the network was asked.
type seen struct{ host, token, body string }

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

// TestATokenIsNeverTold goes through everything that may be written of a
// client, and every place of a request but the one for it.
func TestATokenIsNeverTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		var mu sync.Mutex
		memory := new(Memory)
		g := newGuard()
		log := slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return told.Write(b)
		}), &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
		tell := func(values ...any) {
			mu.Lock()
			defer mu.Unlock()
			for _, v := range values {
				fmt.Fprintf(&told, "%v %+v %#v\n", v, v, v)
			}
		}
		f, c := newFake(t, Options{Logger: log, Memory: memory, Token: func(context.Context) (string, error) { return g.issue(10 * time.Second), nil }})
		f.guard, f.net = g, "n"
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			tell(r.URL.String(), r.Referer(), r.Cookies())
			return false
		}
		f.fault = func(_ protocol.Transport, _ int, out *outlet) bool {
			hello, _ := json.Marshal(out.hello)
			tell(out.r.URL.String(), string(hello))
			return false
		}
		for _, transport := range protocol.Transports() {
			c.transports = []protocol.Transport{transport}
			sub := follow(t, c, fromStart)
			sub.notice = func(e Event) { tell(e) }
			for i := range 8 {
				time.AfterFunc(5*time.Second, []func(){g.expire, g.revoke, func() { f.publish("x") }, func() { f.network.leave()() }}[i%4])
				if _, err := c.Publish(t.Context(), "chat.1", Text("y")); err != nil {
					tell(err)
				}
				sub.until(len(sub.texts)+1, time.Minute)
				tell(sub.sub, c)
				time.Sleep(7 * time.Second)
			}
			sub.sub.Close()
		}
		c.tokens.ask = func(context.Context) (string, error) { return "secret-\x00", nil }
		g.revoke()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Publish(ctx, "chat.1", Text("z"))
		kept, _ := json.Marshal(memory)
		tell(err, string(kept))
		if told.Len() < 1000 || err == nil {
			t.Fatalf("nothing was told: %v\n%s", err, &told)
		}
		for line := range strings.Lines(told.String()) {
			if strings.Contains(line, "secret-") {
				t.Fatalf("it tells the token: %s", line)
			}
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestOriginsAreTheSameWhateverTheirPortsAreWritten(t *testing.T) {
	parse := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	if !isFor(parse("https://a"), parse("https://a:443")) || !isFor(parse("http://a:80"), parse("http://a")) || isFor(parse("http://a:443"), parse("https://a:443")) {
		t.Error("ports are not looked at")
	}
}

// An attachment with an old token may be told of less than the new one grants.
func TestWhatAnOldTokenDoesNotAllowIsAskedForWithTheNewOne(t *testing.T) {
	_, c, _ := newGuarded(t, Options{}, 0)
	s, err := c.Subscribe(t.Context(), map[string]protocol.Start{"chat.1": {}})
	if err != nil {
		t.Fatal(err)
	}
	old := &token{number: 1}
	s.token = &token{number: 2}
	if err := s.unsubscribed(&attachment{token: old}, "chat.1", errNotGranted); !errors.Is(err, errStale) || len(s.places) != 1 {
		t.Errorf("got %v and %+v", err, s.places)
	}
}

package fairlead

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

package fairlead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

func TestMain(m *testing.M) {
	ats.Register() // or the first bubble would own this process-wide goroutine
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// real is the gateway itself, on a log of its own, in a bubble.
type real struct {
	t      *testing.T
	minter *auth.Minter
	http   *http.Client
	apiKey string
}

func serveReal(t *testing.T) *real {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	// nats-server's clock of ages is the real one, while a bubble lives in the year 2000.
	b, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir(), Logger: log, MaxAge: 100 * 365 * 24 * time.Hour, Dedupe: 2 * time.Minute, DiskReserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	key, err := auth.SecretKey("k", []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, apiKey: auth.NewAPIKey()}
	if r.minter, err = auth.NewMinter(key, "", ""); err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewVerifier(auth.Options{Keys: []auth.Key{key}, Skew: -1, APIKeys: []auth.APIKey{
		{Name: "origin", Hash: auth.HashAPIKey(r.apiKey), Rights: auth.Everything(), Manage: []string{">"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(b, gateway.Options{Logger: log, Auth: verifier, Grace: time.Second, DrainWindow: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	listener := newPipeListener()
	server := &http.Server{Handler: g.Handler()}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	r.http = &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
	t.Cleanup(func() {
		ctx := context.Background()
		r.http.CloseIdleConnections()
		_ = g.Drain(ctx)
		_ = server.Close()
		<-served
		verifier.Close()
		_ = b.Close(ctx)
		time.Sleep(time.Second) // net/http lingers on a connection that it closes
	})
	return r
}

func (r *real) client(token func(context.Context) (string, error), transports ...protocol.Transport) *Client {
	r.t.Helper()
	c, err := New("http://gateway", Options{HTTPClient: r.http, Token: token, Transports: transports})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// talk publishes every 200 ms, until stop is called, which returns it all.
func (r *real) talk() (stop func() []string) {
	origin := r.client(StaticToken(r.apiKey))
	quit, all := make(chan struct{}), make(chan []string)
	go func() {
		var said []string
		for {
			select {
			case <-time.After(200 * time.Millisecond):
				said = append(said, fmt.Sprint(len(said)))
				if _, err := origin.Publish(r.t.Context(), "chat.1", Text(said[len(said)-1])); err != nil {
					r.t.Error(err)
				}
			case <-quit:
				all <- said
				return
			}
		}
	}()
	return func() []string {
		close(quit)
		return <-all
	}
}

func (r *real) revoke(sub string) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://gateway/v1/revoke", strings.NewReader(`{"sub":"`+sub+`"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.apiKey)
	q.Header.Set("Content-Type", protocol.MediaJSON)
	response, err := r.http.Do(q)
	if err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("got %+v, %v", response, err)
	}
	response.Body.Close()
}

func mayRead(patterns ...string) auth.Rights { return auth.Rights{Subscribe: patterns} }

// TestTokensAtTheGateway follows a channel with tokens of ten seconds, which
// are renewed, then revoked, and in the end allow less.
func TestTokensAtTheGateway(t *testing.T) {
	for _, transport := range protocol.Transports() {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := serveReal(t)
				asked, rights := 0, mayRead("chat.*")
				c := r.client(func(context.Context) (string, error) {
					asked++
					return r.minter.Mint("ann", rights, 10*time.Second)
				}, transport)
				s, err := c.Subscribe(t.Context(), map[string]protocol.Start{"chat.1": fromStart, "news": {}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				sub := &follower{t: t, sub: s}
				stop := r.talk()
				sub.until(150, time.Minute) // 30 s
				sub.want(strings.Join(sub.texts, " "), "+"+string(transport)+" no news: forbidden")
				if asked < 4 || asked > 5 {
					t.Errorf("%d tokens in 30 s", asked)
				}
				time.AfterFunc(5*time.Second, func() { r.revoke("ann") }) // not while a token is renewed: then there is one more to refuse
				sub.until(200, time.Minute)
				said := stop()
				sub.until(len(said), time.Minute)
				again := " -" + string(transport) + " +" + string(transport)
				sub.want(strings.Join(said, " "), "+"+string(transport)+" no news: forbidden"+again)
				rights = mayRead("news")
				_, err = sub.next()
				if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Forbidden {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestPublishingAtTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serveReal(t)
		c := r.client(func(context.Context) (string, error) {
			return r.minter.Mint("ann", auth.Rights{Publish: []string{"chat.1"}, Subscribe: []string{"chat.1"}}, 5*time.Second)
		})
		for i := range 5 {
			if _, err := c.Publish(t.Context(), "chat.1", Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
		}
		page, err := c.History(t.Context(), "chat.1", protocol.Range{})
		if err != nil || len(page.Messages) != 5 || page.Messages[4].From != "ann" {
			t.Errorf("got %+v, %v", page, err)
		}
		_, err = c.Publish(t.Context(), "chat.2", Text("a"))
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Forbidden {
			t.Errorf("got %v", err)
		}
		none := r.client(nil)
		if _, err = none.Publish(t.Context(), "chat.1", Text("a")); !isUnauthorized(err) {
			t.Errorf("got %v", err)
		}
	})
}

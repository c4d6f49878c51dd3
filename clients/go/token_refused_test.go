package fairlead

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

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

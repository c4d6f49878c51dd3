package fairlead

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// follower gathers what a subscription to chat.1 yields.
type follower struct {
	t      *testing.T
	sub    *Subscription
	texts  []string // of messages
	notes  []string // of everything else
	notice func(Event)
}

func follow(t *testing.T, c *Client, start protocol.Start) *follower {
	t.Helper()
	sub, err := c.Subscribe(t.Context(), map[string]protocol.Start{"chat.1": start})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Close() })
	return &follower{t: t, sub: sub}
}

// until takes events until there are as many messages or d is over, which is the failure.
func (f *follower) until(messages int, d time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	for len(f.texts) < messages {
		e, err := f.sub.Next(ctx)
		if err != nil {
			f.t.Fatalf("after %d of %d messages and %v: %v", len(f.texts), messages, f.notes, err)
		}
		f.note(e)
	}
}

func (f *follower) note(e Event) {
	if f.notice != nil {
		f.notice(e)
	}
	switch e := e.(type) {
	case *Message:
		text, _ := e.Bytes()
		f.texts = append(f.texts, string(text))
	case *Attached:
		f.notes = append(f.notes, "+"+string(e.Transport))
	case *Detached:
		f.notes = append(f.notes, "-"+string(e.Transport))
	case *Offline:
		f.notes = append(f.notes, "offline")
	case *Unsubscribed:
		f.notes = append(f.notes, fmt.Sprintf("no %s: %s", e.Channel, e.Err.Code))
	case *Gap:
		f.notes = append(f.notes, fmt.Sprintf("gap %s..%s %s", e.From, e.To, e.Reason))
	}
}

// attached takes events until the first Attached.
func (f *follower) attached() {
	f.t.Helper()
	for !slices.ContainsFunc(f.notes, func(n string) bool { return n[0] == '+' }) {
		e, err := f.sub.Next(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		f.note(e)
	}
}

func (f *follower) want(texts, notes string) {
	f.t.Helper()
	if got := strings.Join(f.texts, " "); got != texts {
		f.t.Errorf("got the messages %q, want %q", got, texts)
	}
	if got := strings.Join(f.notes, " "); got != notes {
		f.t.Errorf("got the notes %q, want %q", got, notes)
	}
}

var fromStart = protocol.Start{After: &protocol.Cursor{}}

func TestEachTransportDeliversHistoryAndWhatFollows(t *testing.T) {
	for _, transport := range protocol.Transports() {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake(t, Options{Transports: []protocol.Transport{transport}})
				f.publish("a", "b", "c")
				sub := follow(t, c, protocol.Start{Last: 2})
				sub.until(2, time.Minute)
				time.Sleep(time.Minute) // idle
				f.publish("d")
				sub.until(3, time.Minute)
				time.Sleep(time.Second)
				f.publish("e", "f")
				sub.until(5, time.Minute)
				sub.want("b c d e f", "+"+string(transport))
			})
		})
	}
}

func TestPollsWaitAtTheServerAndTheFirstDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Poll}})
		sub := follow(t, c, protocol.Start{})
		begun := time.Now()
		sub.attached()
		if took := time.Since(begun); took != 0 {
			t.Errorf("attached after %v", took)
		}
		time.AfterFunc(70*time.Second, func() { f.publish("a") })
		sub.until(1, time.Hour)
		sub.want("a", "+poll")
		if took := time.Since(begun); took != 70*time.Second {
			t.Errorf("the message took %v", took)
		}
		var waits []float64
		for _, h := range f.hellos {
			waits = append(waits, *h.Wait)
		}
		if got := fmt.Sprint(waits); got != "[0"+strings.Repeat(" 4", 18)+"]" { // no longer than a beat
			t.Errorf("waited %s seconds", got)
		}
	})
}

func TestFromNowMeansFromTheFirstAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("old")
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("new")
		sub.until(1, time.Minute)
		sub.want("new", "+websocket")
	})
}

// TestEveryMessageOnceInOrderWhateverBreaks cuts every attachment after a few
// frames, and repeats some of what was sent.
func TestEveryMessageOnceInOrderWhateverBreaks(t *testing.T) {
	for _, transport := range []protocol.Transport{protocol.WebSocket, protocol.SSE, protocol.Stream} {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake(t, Options{Transports: []protocol.Transport{transport}})
				want := make([]string, 60)
				for i := range want {
					want[i] = fmt.Sprint(i)
				}
				f.publish(want...)
				f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
					if f.open(out) != nil {
						return true
					}
					at := f.welcome(out)
					messages, _ := f.after(at - min(at, 3)) // at least once
					for _, m := range messages[:min(len(messages), 3+n%4)] {
						_ = out.send(m.Wire())
					}
					if out.conn != nil {
						out.conn.Close()
						return true
					}
					panic(http.ErrAbortHandler)
				}
				sub := follow(t, c, fromStart)
				sub.until(len(want), time.Hour)
				if got := strings.Join(sub.texts, " "); got != strings.Join(want, " ") {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

func TestGapsAreToldBeforeWhatFollowsThemAndMoveTheCursorBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.SSE}})
		f.publish("a", "b")
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > 1 || f.open(out) != nil {
				return false
			}
			from := *out.hello.Channels["chat.1"].After
			_ = out.send((&protocol.Gap{Channel: "chat.1", From: from, To: protocol.ID{Epoch: "a", Seq: 0}, Reason: protocol.GapAhead}).Wire())
			return true
		}
		sub := follow(t, c, protocol.Start{After: &protocol.Cursor{{Epoch: "a", Seq: 99}}})
		sub.until(2, time.Minute)
		sub.want("a b", "gap a-99..a-0 ahead -sse +sse")
	})
}

func TestABeatMovesTheCursorOfAnIdleChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Stream}})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > 1 || f.open(out) != nil {
				return false
			}
			f.welcome(out)
			_ = out.send(protocol.Beat(protocol.ID{Epoch: "a", Seq: 2}))
			return true
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("elsewhere", "elsewhere", "here")
		sub.until(1, time.Minute)
		if got := f.hellos[1].Channels["chat.1"].After.String(); got != "a-2" {
			t.Errorf("attached again after %s, want a-2", got)
		}
		sub.want("here", "+stream -stream +stream")
	})
}

func TestNextMayBeGivenUpAndCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if e, err := sub.sub.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v, %v", e, err)
			}
			cancel()
		}
		f.publish("a")
		sub.until(1, time.Minute)
		sub.want("a", "+websocket")
	})
}

func TestASlowReaderKeepsItsAttachmentAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.SSE}})
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		for i := range 20 {
			f.publish(fmt.Sprint(i))
		}
		sub.notice = func(Event) { time.Sleep(10 * fakeBeat) }
		sub.until(20, time.Hour)
		if len(sub.notes) != 1 {
			t.Errorf("got %v", sub.notes)
		}
	})
}

func TestCloseEndsNextAndEveryGoroutine(t *testing.T) {
	for range 50 { // Close races with what it ends
		synctest.Test(t, func(t *testing.T) {
			_, c := newFake(t, Options{})
			sub := follow(t, c, protocol.Start{})
			sub.attached()
			ended := make(chan error)
			go func() {
				_, err := sub.sub.Next(context.Background())
				ended <- err
			}()
			synctest.Wait()
			sub.sub.Close()
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want %v", err, ErrClosed)
			}
			if _, err := sub.sub.Next(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want %v", err, ErrClosed)
			}
		})
	}
}

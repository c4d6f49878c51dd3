package fairlead

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

func TestABlockedUpgradeFallsToSSEAndThenToPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		f.fault = func(transport protocol.Transport, _ int, out *outlet) bool {
			switch transport {
			case protocol.WebSocket:
				http.Error(out.w, "no", http.StatusForbidden)
				return true
			case protocol.SSE: // held back: not even the header gets through
				<-out.r.Context().Done()
				return true
			}
			return false
		}
		begun := time.Now()
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		sub.want("a", "-websocket +poll")
		if took := time.Since(begun); took >= 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestAWelcomeWithoutProofIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(transport protocol.Transport, _ int, out *outlet) bool {
			if transport == protocol.Poll || f.open(out) != nil {
				return false
			}
			f.welcome(out)
			out.await()
			return true
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("a") // after the welcome: it must come, whichever transport brings it
		sub.until(1, time.Minute)
		sub.want("a", "+websocket -websocket +sse +poll")
	})
}

// await waits until the client has gone.
func (out *outlet) await() {
	if out.conn == nil {
		<-out.r.Context().Done()
		return
	}
	_, _ = out.conn.Read(make([]byte, 1))
	out.conn.Close()
}

func TestASilentAttachmentIsReplacedAndTwiceIsDemoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(transport protocol.Transport, n int, out *outlet) bool {
			if transport != protocol.WebSocket || f.open(out) != nil {
				return false
			}
			f.welcome(out)
			time.Sleep(250 * time.Millisecond)
			_ = out.send(protocol.Proof())
			out.await()
			return true
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("a")
		begun := time.Now()
		sub.until(1, time.Minute)
		time.Sleep(time.Second)
		f.publish("b")
		sub.until(2, time.Minute)
		sub.want("a b", "+websocket +websocket +sse")
		if took := time.Since(begun); took > 2*(fakeBeat+2*time.Second) {
			t.Errorf("took %v", took)
		}
	})
}

func TestGoawayIsObeyedAndNotHeldAgainstTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > 3 || f.open(out) != nil {
				return false
			}
			f.welcome(out)
			_ = out.send(protocol.Goaway(1500*time.Millisecond, "drain"))
			if n == 2 {
				out.conn.Close() // early: the time is kept all the same
				return true
			}
			out.await()
			return true
		}
		begun := time.Now()
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("a")
		sub.until(1, time.Minute)
		if took := time.Since(begun); took < 4500*time.Millisecond || took > 5500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		sub.want("a", "+websocket -websocket +websocket -websocket +websocket -websocket +websocket")
	})
}

func TestAnUnwellServerIsAskedAgainAfterWhatItSaysByTheSameTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n == 1 {
				problem(out.w, &protocol.Error{Code: protocol.Unavailable, Message: "draining", RetryAfter: 7 * time.Second})
			}
			return n == 1
		}
		begun := time.Now()
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		sub.want("a", "-websocket +websocket")
		if took := time.Since(begun); took < 7*time.Second || took > 7700*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestWhatTheServerWillNeverServeIsAnError(t *testing.T) {
	for _, code := range []protocol.Code{protocol.BadRequest, protocol.TooLarge} {
		synctest.Test(t, func(t *testing.T) {
			f, c := newFake(t, Options{})
			f.fault = func(transport protocol.Transport, n int, out *outlet) bool {
				if f.open(out) == nil {
					_ = out.send(protocol.ErrorFrame(&protocol.Error{Code: code, Message: "no"}))
					out.await()
				}
				return true
			}
			sub := follow(t, c, protocol.Start{})
			for range 2 {
				_, err := sub.sub.Next(t.Context())
				if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != code {
					t.Errorf("got %v, want %s", err, code)
				}
			}
		})
	}
}

func TestATransportThatIsNotOfferedIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		f.fault = func(transport protocol.Transport, _ int, out *outlet) bool {
			if transport != protocol.Poll {
				problem(out.w, &protocol.Error{Code: "not_acceptable", Message: "no"})
			}
			return transport != protocol.Poll
		}
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		f.publish("b")
		sub.until(2, time.Minute)
		sub.want("a b", "-websocket -sse +poll")
		if n := f.counts[protocol.WebSocket] + f.counts[protocol.SSE]; n != 2 {
			t.Errorf("tried what is not offered %d times", n)
		}
	})
}

func TestAPollThatIsNotWholeProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Poll}})
		f.publish("a")
		bodies := []string{`{"frames":[`, `{"frames":[]}`, `{"id":"a-1"}`, `<html>`, ``}
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > len(bodies) {
				return false
			}
			out.w.Header().Set("Content-Type", protocol.MediaJSON)
			_, _ = out.w.Write([]byte(bodies[n-1]))
			return true
		}
		sub := follow(t, c, fromStart)
		sub.until(1, time.Hour)
		sub.want("a", "-poll -poll -poll -poll -poll +poll")
	})
}

func TestASessionThatIsGoneIsNotAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.SSE}})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			switch n {
			case 1:
				_ = f.open(out)
				f.welcome(out)
				return true
			case 2:
				problem(out.w, &protocol.Error{Code: protocol.Gone, Message: "attach anew"})
				return true
			}
			return false
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		f.publish("a")
		sub.until(1, time.Minute)
		first, again, anew := f.hellos[0].Session, f.hellos[1].Session, f.hellos[2].Session
		if first == "" || again != first || anew == first || anew == "" {
			t.Errorf("the sessions were %q, %q and %q", first, again, anew)
		}
	})
}

func TestTheEndOfAnAttachmentIsJudged(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		name   string
		err    error
		proven bool
		want   verdict
	}{
		{"the end of a good one", io.EOF, true, lost},
		{"after a goaway", errLeft, true, over},
		{"not where the cursors are", errStale, true, stale},
		{"no connection", &url.Error{Op: "Post", Err: dial}, false, away},
		{"a reset before the welcome", &url.Error{Op: "Post", Err: io.ErrUnexpectedEOF}, false, blocked},
		{"a proxy's refusal", &StatusError{Status: 403}, false, blocked},
		{"a proxy's fault", &StatusError{Status: 502}, false, faulty},
		{"a proxy's fault with a poll that is good", &StatusError{Status: 502}, true, faulty},
		{"a proxy's limit", &StatusError{Status: 429}, false, faulty},
		{"half a poll", errNoPoll, false, blocked},
		{"a full log", &protocol.Error{Code: protocol.Unavailable}, true, unwell},
		{"too often", &protocol.Error{Code: protocol.RateLimited}, false, unwell},
		{"not offered", &protocol.Error{Code: "not_acceptable"}, false, refused},
		{"a forgotten session", &protocol.Error{Code: protocol.Gone}, true, forgotten},
		{"a bad channel", &protocol.Error{Code: protocol.BadRequest}, false, fatal},
		{"a token that is too old", &protocol.Error{Code: protocol.Expired}, true, rejected},
		{"a token that is no good", &protocol.Error{Code: protocol.Unauthorized}, false, rejected},
		{"nothing is granted", &protocol.Error{Code: protocol.Forbidden}, false, fatal},
		{"a code of a later version", &protocol.Error{Code: "melted"}, false, fatal},
	} {
		if got := judge(c.err, c.proven); got != c.want {
			t.Errorf("%s is judged %d, want %d", c.name, got, c.want)
		}
	}
}

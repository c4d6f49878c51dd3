package fairlead

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// TestAPublishWhoseAnswerIsLostIsStoredOnce breaks off every answer but the fourth's.
func TestAPublishWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		tries := 0
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			tries++
			if tries == 1 {
				problem(w, &protocol.Error{Code: protocol.Unavailable, Message: "full", RetryAfter: 5 * time.Second})
				return true
			}
			if tries == 4 {
				return false
			}
			body, _ := io.ReadAll(r.Body)
			p, _ := protocol.ParsePublication(body)
			f.mu.Lock()
			f.append(p)
			f.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		begun := time.Now()
		receipt, err := c.Publish(t.Context(), "chat.1", Text("a"))
		if err != nil {
			t.Fatal(err)
		}
		if receipt.ID.String() != "a-1" || !receipt.Duplicate || len(f.log) != 1 || tries != 4 {
			t.Errorf("got %+v after %d tries, and %d messages", receipt, tries, len(f.log))
		}
		if time.Since(begun) < 5*time.Second {
			t.Error("Retry-After was not honoured")
		}
	})
}

// TestPublishesOutliveAnAbsenceOfTheNetworkInOrder takes the network away, visibly and not, in the middle of them.
func TestPublishesOutliveAnAbsenceOfTheNetworkInOrder(t *testing.T) {
	for _, visibly := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, c := newFake(t, Options{})
			var want []string
			for i := range 30 {
				if i == 10 {
					for range 3 { // connections that are kept
						go func() { _, _ = c.Ping(t.Context()) }()
					}
					synctest.Wait()
					leave := f.network.swallow
					if visibly {
						leave = f.network.leave
					}
					time.AfterFunc(5*time.Second, leave())
				}
				begun := time.Now()
				if _, err := c.Publish(t.Context(), "chat.1", Text(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took > attemptLimit+5*time.Second+paceBase {
					t.Errorf("visibly: %v: took %v", visibly, took)
				}
				want = append(want, fmt.Sprintf("%q", fmt.Sprint(i)))
			}
			var got []string
			for _, m := range f.log {
				got = append(got, string(m.Payload))
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("visibly: %v: got %s", visibly, got)
			}
		})
	}
}

func TestAPublishIsNotRetriedPastTheServersMemoryOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			problem(w, &protocol.Error{Code: protocol.Internal, Message: "internal error"})
			return true
		}
		begun := time.Now()
		_, err := c.Publish(t.Context(), "chat.1", Text("a"))
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.Internal {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took > retryWindow+attemptLimit || took < retryWindow/2 {
			t.Errorf("took %v", took)
		}
	})
}

func TestWhatIsRefusedIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		tries := 0
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			tries++
			problem(w, &protocol.Error{Code: protocol.TooLarge, Message: "over the limit"})
			return true
		}
		_, err := c.Publish(t.Context(), "chat.1", Text("a"))
		if err == nil || !strings.Contains(err.Error(), "over the limit") || tries != 1 {
			t.Errorf("got %v after %d tries", err, tries)
		}
		if _, err := c.Publish(t.Context(), "chat.*", Text("a")); err == nil || tries != 1 {
			t.Errorf("a pattern was published to: %v", err)
		}
	})
}

func TestAnAnswerOfSomebodyElseIsNoReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		for _, answer := range []struct{ media, body string }{
			{"text/html", "<html>log in to the hotel's network"},
			{"text/html", `{"id":"a-1"}`},
			{protocol.MediaJSON, `{}`},
		} {
			f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Content-Type", answer.media)
				fmt.Fprint(w, answer.body)
				return true
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if receipt, err := c.Publish(ctx, "chat.1", Text("a")); err == nil {
				t.Errorf("%s: got %+v", answer, receipt)
			}
			if pong, err := c.Ping(ctx); err == nil {
				t.Errorf("%s: got %+v", answer, pong)
			}
		}
	})
}

// TestAStreamStoresEveryMessageOnceInOrderWhateverBreaks breaks off uploads
// after some messages, and lets the stream idle and grow old.
func TestAStreamStoresEveryMessageOnceInOrderWhateverBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		uploads := 0
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			uploads++
			if uploads%2 == 0 {
				return false
			}
			lines := json.NewDecoder(r.Body)
			for range uploads % 5 {
				p := new(Publication)
				if lines.Decode(p) == nil {
					f.mu.Lock()
					f.append(p)
					f.mu.Unlock()
				}
			}
			panic(http.ErrAbortHandler)
		}
		s, err := c.PublishStream("chat.1")
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 50 {
			if i%7 == 0 {
				time.Sleep(2 * uploadIdle)
			}
			time.Sleep(time.Second)
			want = append(want, fmt.Sprintf("%q", fmt.Sprint(i)))
			if err := s.Send(t.Context(), Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		result, err := s.Close(t.Context())
		if err != nil || result.Count != 50 || result.ID.String() != "a-50" {
			t.Errorf("got %+v, %v", result, err)
		}
		var got []string
		for _, m := range f.log {
			got = append(got, string(m.Payload))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("got %s", got)
		}
		if uploads < 8 {
			t.Errorf("only %d uploads: nothing was tried", uploads)
		}
	})
}

func TestEachMessageOfAStreamArrivesWhenItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		s, err := c.PublishStream("chat.1")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := s.Send(t.Context(), Text("x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := f.end().Seq; got != uint64(i+1) {
				t.Errorf("after %d messages %d are stored", i+1, got)
			}
		}
		if result, err := s.Close(t.Context()); err != nil || result.Count != 3 {
			t.Errorf("got %+v, %v", result, err)
		}
	})
}

func TestAnIdleStreamEndsItsRequestInOrderBeforeTheServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		uploads, broken := 0, 0
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			uploads++
			begun := time.Now()
			f.upload(w, r)
			if r.Context().Err() != nil || time.Since(begun) > uploadAge {
				broken++
			}
			return true
		}
		s, err := c.PublishStream("chat.1")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 { // half a minute of many, then of few
			if err := s.Send(t.Context(), Text("x")); err != nil {
				t.Fatal(err)
			}
			if i < 32 {
				time.Sleep(time.Second)
			} else {
				time.Sleep(2 * uploadIdle)
			}
		}
		result, err := s.Close(t.Context())
		if err != nil || result.Count != 40 || len(f.log) != 40 {
			t.Errorf("got %+v, %v", result, err)
		}
		if uploads != 9 || broken != 0 {
			t.Errorf("%d uploads, of which %d broke", uploads, broken)
		}
	})
}

func TestAStreamSaysHowFarItGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.ReadAll(r.Body)
			problem(w, &protocol.Error{Code: protocol.BadRequest, Message: "no"}, "stored", 2, "id", "a-2")
			return true
		}
		s, err := c.PublishStream("chat.1")
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := s.Send(t.Context(), Text("x")); err != nil {
				t.Fatal(err)
			}
		}
		result, err := s.Close(t.Context())
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.BadRequest {
			t.Errorf("got %v", err)
		}
		if result.Count != 2 || result.ID.String() != "a-2" {
			t.Errorf("got %+v", result)
		}
	})
}

func TestHistoryIsReadByPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a", "b")
		asked := ""
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			asked = r.URL.RequestURI()
			return false
		}
		page, err := c.History(t.Context(), "chat.a+b=c@d", protocol.Range{Last: 2, Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Messages) != 2 || string(page.Messages[1].Data) != `"b"` || page.Next.String() != "a-1" || page.Gap != nil {
			t.Errorf("got %+v", page)
		}
		if want := "/v1/channels/chat.a%2Bb=c@d/messages?last=2&limit=5"; asked != want {
			t.Errorf("asked for %s, want %s", asked, want)
		}
		if _, err := c.History(t.Context(), "chat.1", protocol.Range{Last: 2, After: &protocol.Cursor{}}); err == nil {
			t.Error("two positions are accepted")
		}
	})
}

func TestABadAddressOrTransportIsRefused(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8080", "ftp://x", "http://"} {
		if _, err := New(address, Options{}); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
	if _, err := New("http://x", Options{Transports: []protocol.Transport{"pigeon"}}); err == nil {
		t.Error("a pigeon is accepted")
	}
}

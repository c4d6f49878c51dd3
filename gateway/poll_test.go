package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

func polling(query string) request {
	return request{method: "GET", path: "/v1/attach?session=s&" + query}
}

// PROTOCOL.md 3.4.
func TestPollAnswersAtOnceOrAfterItsWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Wait: 40 * time.Second}}, broker.Options{})
		for _, c := range []struct {
			query string
			want  time.Duration
		}{{"channel=a", 25 * time.Second}, {"channel=a&wait=0", 0}, {"channel=a&wait=1.5", 1500 * time.Millisecond}, {"channel=a&wait=40", 40 * time.Second}, {"channel=a&wait=1e300", 40 * time.Second}, {"", 25 * time.Second}} {
			began := time.Now()
			a := w.call(polling(c.query))
			if took := time.Since(began); took != c.want || a.status != 200 || len(a.Frames) != 0 || a.ID == "" {
				t.Errorf("%s: got %d %s after %v, want no frames after %v", c.query, a.status, a.body, took, c.want)
			}
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("%s: got %s", c.query, got)
			}
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			time.Sleep(7 * time.Second)
			w.publish("a", 1)
		})
		began := time.Now()
		if a := w.call(polling("channel=a")); time.Since(began) != 7*time.Second || len(a.Frames) != 1 {
			t.Errorf("got %s after %v", a.body, time.Since(began))
		}
	})
}

func TestARepeatedPollGetsTheSameAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for i := range 1500 {
			w.publish("a", i)
		}
		synctest.Wait()
		cursor := "0"
		var got []string
		for len(got) < 1500 {
			first, again := w.call(polling("channel=a&after="+cursor)), w.call(polling("channel=a&after="+cursor))
			if first.body != again.body {
				t.Fatalf("after %s: the same poll had two answers", cursor)
			}
			for _, raw := range first.Frames {
				got = append(got, parseFrame(t, raw).String())
			}
			cursor = first.ID
		}
		for i, data := range got {
			if data != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, data)
			}
		}
	})
}

// What one answer holds is bounded by bytes as well.
func TestAPollsAnswerIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tail := range []int{32 << 20, 1} {
			w := newWorld(t, Options{}, broker.Options{TailBytes: tail})
			big := strings.Repeat("x", 200<<10)
			for range 12 {
				w.publish("a", big)
			}
			synctest.Wait()
			cursor, got := "0", 0
			for got < 12 {
				a := w.call(polling("wait=0&channel=a&after=" + cursor))
				if len(a.body) > pollBytes+takeBatch*(201<<10) || len(a.Frames) == 0 {
					t.Fatalf("an answer has %d frames in %d bytes", len(a.Frames), len(a.body))
				}
				got += len(a.Frames)
				cursor = a.ID
			}
		}
	})
}

// A poll without waiting gets what is in the stored log all the same.
func TestAPollThatDoesNotWaitGetsWhatIsStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{TailBytes: 1})
		w.publish("a", 1, 2, 3)
		synctest.Wait()
		if a := w.call(polling("channel=a&after=0&wait=0")); len(a.Frames) != 3 {
			t.Errorf("got %s", a.body)
		}
	})
}

func TestAPollIsWelcomedWithoutSessionOrWhereItAsks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for body, welcomes := range map[string]int{`{"channels":{"a":{}},"wait":0}`: 1, `{"session":"s","channels":{"a":{}},"wait":0}`: 0, `{"session":"s","welcome":true,"channels":{"a":{}},"wait":0}`: 1} {
			a := w.call(request{method: "POST", path: "/v1/attach", body: body, headers: "Accept: */*"})
			if len(a.Frames) != welcomes || !json.Valid([]byte(a.body)) {
				t.Errorf("%s: got %s", body, a.body)
			}
		}
	})
}

// The quality values of Accept choose (RFC 9110, section 12.5.1).
func TestAcceptChoosesTheTransport(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for accept, want := range map[string]string{
			"":                  protocol.MediaJSON,
			"*/*":               protocol.MediaJSON,
			"text/event-stream": protocol.MediaSSE,
			"text/event-stream;q=0.1, application/x-ndjson": protocol.MediaStream,
			"text/event-stream;q=0, */*":                    protocol.MediaJSON,
		} {
			response := w.send(request{method: "GET", path: "/v1/attach?channel=a&wait=0", headers: "Accept: " + accept})
			if got := response.Header.Get("Content-Type"); got != want {
				t.Errorf("Accept: %s: got %s, want %s", accept, got, want)
			}
			_ = response.Body.Close()
		}
	})
}

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// ask sends a request and reads nothing of its answer.
func (w *world) ask(r request) net.Conn {
	w.t.Helper()
	conn := w.dial()
	w.t.Cleanup(func() { _ = conn.Close() })
	headers := strings.ReplaceAll("Host: x\n"+strings.TrimSpace(r.headers), "\n", "\r\n")
	text := fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n%s", r.method, r.path, strings.TrimSpace(headers), len(r.body), r.body)
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// histories is a request for n pages.
func histories(n int) request {
	command := `{"op":"history","channel":"chat.1","cid":1}`
	return request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[` + strings.TrimSuffix(strings.Repeat(command+",", n), ",") + `]}`}
}

// bigAnswers are requests whose answers are about a mebibyte, and of several of them.
func bigAnswers() map[string]request {
	return map[string]request{
		"commands": histories(10),
		"history":  {method: "GET", path: "/v1/channels/chat.1/messages"},
		"poll":     {method: "GET", path: "/v1/attach?channel=chat.1&after=0&wait=0"},
	}
}

// Answers that nobody reads are bounded for each client, and end soon. Others
// are served as ever, of the same address as well.
func TestWhoReadsNoAnswersSuffersAlone(t *testing.T) {
	for what, asked := range bigAnswers() {
		over(t, func(t *testing.T, transport protocol.Transport) {
			const share = 2 << 20
			w := newGuarded(t, Options{Limits: Limits{Pending: 8 * share}})
			for i := range 10 {
				w.publish("chat.1", fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 100_000)))
			}
			mallory, ann := w.token("mallory", chat), w.token("ann", chat)
			patient := w.from(someone).attach(protocol.WebSocket, helloAs(ann, `"channels":{"chat.2":{}}`))
			defer patient.hangUp()
			patient.want("proof")
			w.publish("chat.2", `"`+strings.Repeat("x", 10_000)+`"`) // which it does not read for now
			for range 20 {
				defer func(conn net.Conn) { _ = conn.Close() }(w.from(someone).ask(w.as(mallory, asked)))
				synctest.Wait()
			}
			if held := w.g.door.Taken().Pending; held < share || held > 2*share {
				t.Errorf("%s: %d KiB wait", what, held>>10)
			}

			page := request{method: "GET", path: "/v1/channels/chat.1/messages"}
			for _, r := range []request{anAttach, {method: "GET", path: "/v1/attach?channel=chat.1&wait=0&session=s"}, page} {
				r.path = strings.Replace(r.path, "channel=a", "channel=chat.1", 1)
				if after := w.from(someone).wantRefused(w.as(mallory, r), protocol.RateLimited, "pending"); after != admission.PressedStall {
					t.Errorf("asks for %v", after)
				}
			}
			if a := w.from(someone).call(w.as(ann, page)); a.status != 200 || len(a.Messages) != 10 {
				t.Errorf("%s: another's page is %d %.100s", what, a.status, a.body)
			}
			w.from(someone).attach(transport, helloAs(ann, `"wait":0,"channels":{"chat.3":{}}`)).hangUp()

			time.Sleep(admission.PressedStall)
			if a := w.from(someone).call(w.as(ann, page)); a.status != 200 {
				t.Errorf("%s: another's page is %d", what, a.status)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if held := w.g.door.Taken().Pending; held > share {
				t.Errorf("%s: %d KiB still wait", what, held>>10)
			}
			if a := w.from(someone).call(w.as(mallory, page)); a.status != 200 {
				t.Errorf("%s: got %d %.100s after the time that was asked for", what, a.status, a.body)
			}
			if m := patient.want("message"); len(m.Data) < 2 {
				t.Errorf("got %s", m.raw)
			}
		}, protocol.WebSocket, protocol.SSE, protocol.Poll)
	}
}

// Answers that were stuck before their client had too much are cut off when it
// has; one that is read is not, nor are others' that are as stuck.
func TestAnswersThatAreStuckMakeRoomAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const size = 100_000
		w := newGuarded(t, Options{Limits: Limits{Pending: 8 * 5 * size / 2}})
		w.publish("chat.1", `"`+strings.Repeat("x", size)+`"`)
		mallory, ann := w.token("mallory", chat), w.token("ann", chat)
		page := request{method: "GET", path: "/v1/channels/chat.1/messages"}
		stuck := func(token string) net.Conn {
			conn := w.ask(w.as(token, page))
			synctest.Wait()
			return conn
		}
		early, read, others := stuck(mallory), stuck(mallory), stuck(ann)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			n, err := io.Copy(io.Discard, io.LimitReader(steady{read}, size))
			if n < size || err != nil {
				t.Errorf("the one that is read ends after %d bytes: %v", n, err)
			}
			_ = read.Close()
		})
		time.Sleep(2*admission.PressedStall + time.Second/4)
		if n := w.timesRefused("pending"); n != 0 {
			t.Errorf("%v were cut off while there was room", n)
		}
		late := stuck(mallory)
		if n := w.timesRefused("pending"); n != 1 {
			t.Errorf("%v were cut off, want one", n)
		}
		want := 3 * size
		if held := w.g.door.Taken().Pending; held < want || held > want+size/2 {
			t.Errorf("%d bytes wait, want those of three answers", held)
		}
		for _, conn := range []net.Conn{early, others, late} {
			_ = conn.Close()
		}
	})
}

// Messages that nobody reads end who is over its share, and nobody else who reads as slowly.
func TestWhoReadsNoMessagesIsCutOffAlone(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		const size, share = 30_000, 100_000
		w := newGuarded(t, Options{Limits: Limits{Pending: 8 * share}})
		attach := func(sub string) *link {
			l := w.from(someone).attach(transport, helloAs(w.token(sub, chat), `"channels":{"chat.1":{}}`))
			l.want("proof")
			return l
		}
		left := func(links []*link) (n int) {
			for _, l := range links {
				if w.g.attachment(l.welcome.Attachment) != nil {
					n++
				}
			}
			return n
		}
		ann, bob := []*link{attach("ann"), attach("ann")}, []*link{attach("bob"), attach("bob")}
		var mallory []*link
		for range 10 {
			mallory = append(mallory, attach("mallory"))
		}
		w.publish("chat.1", `"`+strings.Repeat("x", size)+`"`)
		synctest.Wait()
		if held := w.g.door.Taken().Pending; held < 14*size || held > 8*share {
			t.Fatalf("%d bytes wait: this shows nothing", held)
		}
		time.Sleep(admission.PressedStall)
		w.from(another).attach(transport, helloAs(w.admin, `"channels":{"chat.2":{}}`)).hangUp() // which finds them stuck
		time.Sleep(2 * closeTimeout)
		synctest.Wait()
		if left(ann) != 2 || left(bob) != 2 || left(mallory) > share/size {
			t.Errorf("still attached are %d and %d of those below their share, and %d of who was over it", left(ann), left(bob), left(mallory))
		}
		for _, l := range append(append(ann, bob...), mallory...) {
			l.hangUp()
		}
	}, streams...)
}

// Each attachment of who is over its share holds one large message at most.
func TestWhoIsOverItsShareIsSentOneAtATime(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		const size, share = 40_000, 100_000
		w := newGuarded(t, Options{Limits: Limits{Pending: 8 * share}})
		mallory, big := w.token("mallory", chat), `"`+strings.Repeat("x", size)+`"`
		l := w.attach(transport, helloAs(mallory, `"channels":{"chat.1":{}}`))
		l.want("proof")
		w.publish("chat.1", big)
		w.publish("chat.2", big, big, big) // which make the share alone
		conn := w.ask(w.as(mallory, request{method: "GET", path: "/v1/channels/chat.2/messages"}))
		defer func() { _ = conn.Close() }()
		w.publish("chat.1", big, big, big, big)
		before := w.g.door.Taken().Pending
		if before < share {
			t.Fatalf("%d bytes wait: this shows nothing", before)
		}
		for range 5 {
			l.want("message")
			synctest.Wait()
			if held := w.g.door.Taken().Pending; held > before+1000 {
				t.Errorf("%d bytes waited, and now %d", before, held)
			}
		}
		l.hangUp()
	}, streams...)
}

// Polls that wait for who is over its share are refused when there is something
// to gather for them, and have lost nothing.
func TestPollsThatWaitGatherNothingForWhoIsOverItsShare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const share = 100_000
		w := newGuarded(t, Options{Limits: Limits{Pending: 8 * share}})
		mallory, ann := w.token("mallory", chat), w.token("ann", chat)
		poll := request{method: "GET", path: "/v1/attach?channel=chat.2&wait=20"}
		var wg sync.WaitGroup
		answers := make(map[string]answer)
		var mu sync.Mutex
		for _, token := range []string{mallory, ann} {
			wg.Go(func() {
				a := w.call(w.as(token, poll))
				mu.Lock()
				defer mu.Unlock()
				answers[token] = a
			})
		}
		synctest.Wait()
		w.publish("chat.1", `"`+strings.Repeat("x", share)+`"`)
		conn := w.ask(w.as(mallory, request{method: "GET", path: "/v1/channels/chat.1/messages"}))
		defer func() { _ = conn.Close() }()
		synctest.Wait()
		w.publish("chat.2", 1)
		wg.Wait()
		answers[mallory].wantProblem(t, "who is over its share", protocol.RateLimited)
		if a := answers[ann]; a.status != 200 || len(a.Frames) < 2 {
			t.Errorf("another got %d %s", a.status, a.body)
		}
	})
}

// An answer takes as long as its client reads, and ends when that stands still.
func TestAnAnswerThatIsReadSteadilyIsNotCutOff(t *testing.T) {
	for what, asked := range bigAnswers() {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{Limits: Limits{WriteStall: 10 * time.Second}}, broker.Options{})
			w.publish("chat.1", `"`+strings.Repeat("x", 200_000)+`"`)
			conn := w.ask(asked)
			response, err := http.ReadResponse(bufio.NewReaderSize(steady{conn}, 1<<10), nil)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if n, err := io.Copy(io.Discard, response.Body); err != nil || n < 200_000 {
				t.Errorf("%s: after %v and %d bytes: %v", what, time.Since(began), n, err)
			}
			if time.Since(began) < time.Minute || w.timesRefused("write_stall") != 0 {
				t.Errorf("%s: it took %v", what, time.Since(began))
			}
			_ = conn.Close()

			conn = w.ask(asked)
			if _, err := conn.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			if n := w.timesRefused("write_stall"); n != 1 || w.g.door.Taken().Pending != 0 {
				t.Errorf("%s: one that stands still was cut off %v times, and %d bytes wait", what, n, w.g.door.Taken().Pending)
			}
			_ = conn.Close()
		})
	}
}

// steady reads 4 KiB in 2 s at most.
type steady struct{ r io.Reader }

func (s steady) Read(p []byte) (int, error) {
	time.Sleep(time.Second / 2)
	return s.r.Read(p[:min(len(p), 1<<10)])
}

// Over its share or not: who takes what it is sent, however slowly, gets all of it.
func TestWhoReadsSteadilyIsNotCutOffThoughOverItsShare(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		const share, size = 100_000, 150_000
		w := newGuarded(t, Options{Limits: Limits{Pending: 8 * share}})
		l := w.from(someone).attach(transport, helloAs(w.token("mallory", chat), `"channels":{"chat.1":{}}`))
		l.want("proof")
		w.publish("chat.1", `"`+strings.Repeat("x", size)+`"`)
		var from io.Reader = l.conn
		if l.response != nil {
			from = l.response.Body
		}
		part := make([]byte, 1<<10)
		for n := 0; n < size; {
			time.Sleep(50 * time.Millisecond) // so that the whole takes more than PressedStall
			m, err := from.Read(part)
			if n += m; err != nil {
				t.Fatalf("cut off after %d bytes: %v", n, err)
			}
			_ = w.g.door.RoomFor(admission.Client{Subject: "mallory"}) // which has those cut off who take nothing
		}
		l.hangUp()
	}, streams...)
}

package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// streamed are parts of bodies whose messages are stored as they come: a message,
// the beginning and the end of one, and what may come between messages for hours.
var streamed = map[string]struct{ message, begun, rest, quiet string }{
	protocol.MediaSSE:    {"data: 1\n\n", "data: ", "\n\n", ": a comment\n"},
	protocol.MediaStream: {"{\"data\":1}\n", `{"data":"`, "\"}\n", "\n"},
}

// sending is a request whose body goes on, and its answer.
type sending struct {
	t      *testing.T
	body   *io.PipeWriter
	answer chan answer
}

// upload begins to send a body. It ends with the answer.
func (w *world) upload(t *testing.T, r request) *sending {
	body, pipe := io.Pipe()
	r.stream = body
	s := &sending{t, pipe, make(chan answer, 1)}
	go func() { // ends with the answer, or with the connection
		if response, err := w.trySend(r); err == nil {
			s.answer <- answerOf(t, response)
		}
		_ = body.CloseWithError(io.ErrClosedPipe)
	}()
	return s
}

// write sends more of it, unless it has been answered.
func (s *sending) write(text string) error {
	_, err := io.WriteString(s.body, text)
	synctest.Wait()
	return err
}

// finish ends the body, if the answer is not there yet, and returns that.
func (s *sending) finish() answer {
	_ = s.body.Close()
	return <-s.answer
}

// answered is the answer if it is there.
func (s *sending) answered() (answer, bool) {
	select {
	case a := <-s.answer:
		return a, true
	default:
		return answer{}, false
	}
}

// What has come of messages that are not complete is memory like that of whole bodies.
func TestMessagesOfUploadsThatAreStillComingAreCounted(t *testing.T) {
	for media, s := range streamed {
		bubble(t, func(t *testing.T) {
			const bodies, part = 1 << 20, 100 << 10
			w := newWorld(t, Options{Limits: Limits{Bodies: bodies}}, broker.Options{})
			healthy := w.attach(protocol.WebSocket, aHello)
			defer healthy.hangUp()
			healthy.withstands(func() {
				refused := 0
				var open []*sending
				for range 10 {
					u := w.from(someone).upload(t, poster("b", media, ""))
					_ = u.write(s.message + s.begun + strings.Repeat("x", part))
					if n := w.g.door.Taken().Bodies; n > bodies/4 {
						t.Fatalf("%s: %d bytes are held for one address", media, n)
					}
					if a, ok := u.answered(); ok {
						a.wantProblem(t, media, protocol.RateLimited)
						if a.Stored != 1 || a.header.Get("Retry-After") == "" {
							t.Errorf("%s: got %s", media, a.body)
						}
						refused++
						continue
					}
					open = append(open, u)
				}
				if n := w.g.door.Taken().Bodies; n < len(open)*part || len(open) == 0 || w.timesRefused("bodies") != float64(refused) {
					t.Errorf("%s: %d bytes are counted for %d; %v of %d refusals", media, n, len(open), w.timesRefused("bodies"), refused)
				}
				healthy.wantServed()
				u := w.from(another).upload(t, poster("b", media, ""))
				if err := u.write(s.begun + strings.Repeat("x", part)); err != nil {
					t.Errorf("%s: another address: %v", media, err)
				}
				for _, u := range append(open, u) {
					_ = u.body.CloseWithError(io.ErrUnexpectedEOF)
				}
				time.Sleep(time.Minute)
				if n := w.g.door.Taken().Bodies; n != 0 {
					t.Errorf("%s: %d bytes are still counted", media, n)
				}
			})
		})
	}
}

// When a message is complete its room is given back, though the body goes on.
func TestAMessageThatIsCompleteGivesItsRoomBack(t *testing.T) {
	for media, s := range streamed {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			u := w.upload(t, poster("b", media, ""))
			_ = u.write(s.begun + strings.Repeat("x", 200<<10))
			if n := w.g.door.Taken().Bodies; n < 200<<10 || n > 600<<10 {
				t.Errorf("%s: %d bytes are counted of 200 KiB", media, n)
			}
			_ = u.write(s.rest + s.quiet)
			if n := w.g.door.Taken().Bodies; n != 0 {
				t.Errorf("%s: %d bytes are counted of nothing", media, n)
			}
			if a := u.finish(); a.status != 201 || a.Stored != 1 {
				t.Errorf("%s: got %s", media, a.body)
			}
		})
	}
}

// A message that has begun has its time, however it drips; between messages an upload may last.
func TestAnUploadsMessageHasItsTimeAsAWhole(t *testing.T) {
	for media, s := range streamed {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			u := w.upload(t, poster("b", media, ""))
			began := time.Now()
			write := func(text string) {
				if err := u.write(text); err != nil {
					t.Fatalf("%s: %v after %v", media, err, time.Since(began))
				}
				time.Sleep(20 * time.Second)
			}
			for range 30 {
				write(s.quiet + s.message + s.begun)
				write("x")
				write(s.rest + s.begun)
				write(s.rest)
				for range 5 {
					write(s.quiet)
				}
			}
			if a := u.finish(); a.status != 201 || a.Stored != 90 {
				t.Errorf("%s: got %s", media, a.body)
			}

			u = w.upload(t, poster("b", media, ""))
			_ = u.write(s.message + s.begun)
			began = time.Now()
			for u.write("x") == nil && time.Since(began) < time.Hour {
				time.Sleep(20 * time.Second)
			}
			a := <-u.answer
			if a.wantProblem(t, media, protocol.Timeout); a.Stored != 1 || time.Since(began) > 70*time.Second {
				t.Errorf("%s: after %v got %s", media, time.Since(began), a.body)
			}
			if n := w.timesRefused("body_stall"); n != 1 {
				t.Errorf("%s: counted %v times", media, n)
			}
		})
	}
}

// It ends when its sender may not publish any longer, and not with the next message.
func TestAnUploadEndsAtOnceWithTheRightToPublish(t *testing.T) {
	for media, s := range streamed {
		for what, c := range map[string]struct {
			at   time.Duration
			do   func(w *guarded)
			code protocol.Code
		}{
			"expired": {lifetime, func(*guarded) {}, protocol.Expired},
			"revoked": {11 * time.Second, func(w *guarded) { w.revoke(`"sub":"ann"`) }, protocol.Unauthorized},
		} {
			bubble(t, func(t *testing.T) {
				w := newGuarded(t, Options{Grace: time.Hour})
				token := w.tokenFor("ann", chat, lifetime)
				began := time.Now()
				u := w.upload(t, w.as(token, poster("chat.1", media, "")))
				_ = u.write(s.message)
				for time.Since(began) < c.at {
					time.Sleep(500 * time.Millisecond)
					if err := u.write(s.quiet); err != nil {
						break
					}
					if time.Since(began) == c.at {
						c.do(w)
					}
				}
				a := <-u.answer
				if a.wantProblem(t, media+" "+what, c.code); a.Stored != 1 || time.Since(began) != c.at {
					t.Errorf("%s, %s: after %v got %s", media, what, time.Since(began), a.body)
				}
				if n := w.timesRefused("body_stall"); n != 0 {
					t.Errorf("%s, %s: it is counted as one that stands still", media, what)
				}
			})
		}
	}
}

// It is answered at once over HTTP/1.1, and whoever is sending has time to read that.
func TestAnUploadThatEndsIsAnsweredBeforeItsConnectionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		length, line string
		at           time.Duration
		code         protocol.Code
	}{
		"expired, of a known length": {"Content-Length: 1000", "", lifetime, protocol.Expired},
		"expired, in chunks":         {"Transfer-Encoding: chunked", "", lifetime, protocol.Expired},
		"bad, of a known length":     {"Content-Length: 1000", "{\n", 0, protocol.BadRequest},
		"bad, in chunks":             {"Transfer-Encoding: chunked", "2\r\n{\n\r\n", 0, protocol.BadRequest},
	} {
		bubble(t, func(t *testing.T) {
			w := newGuarded(t, Options{})
			began := time.Now()
			a, behind := w.rawCallOn("POST /v1/channels/chat.1/messages HTTP/1.1\r\nHost: x\r\n" + c.length + "\r\nContent-Type: application/x-ndjson\r\nAuthorization: Bearer " + w.tokenFor("ann", chat, lifetime) + "\r\n\r\n" + c.line)
			if a.wantProblem(t, name, c.code); time.Since(began) != c.at {
				t.Errorf("%s: answered after %v", name, time.Since(began))
			}
			_, err := behind.ReadByte()
			if after := time.Since(began) - c.at; err != io.EOF || after < lingerTime || after > 2*closeTimeout {
				t.Errorf("%s: the connection ends %v after the answer, with %v", name, after, err)
			}
		})
	}
}

// After one that came to its end the connection is as good as new.
func TestAConnectionIsUsedAgainAfterAnUpload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{})
		token := w.tokenFor("ann", chat, lifetime)
		post := "POST /v1/channels/chat.1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nContent-Type: application/x-ndjson\r\nAuthorization: Bearer " + token + "\r\n\r\n{\"data\":1}\n"
		_, behind := w.rawCallOn(post + post)
		status, err := behind.ReadString('\n')
		if err != nil || !strings.HasPrefix(status, "HTTP/1.1 201") {
			t.Errorf("got %q, %v", status, err)
		}
	})
}

func TestUploadsOfAClientAtATimeAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuardedBy(t, Options{Limits: Limits{UploadsPerClient: 2}}, func(o *auth.Options) { o.Anonymous = &chat })
		ann, bob := w.token("ann", chat), w.token("bob", chat)
		anUpload := poster("chat.1", protocol.MediaStream, "")
		var open []*sending
		begin := func(r request, at string) {
			t.Helper()
			u := w.from(at).upload(t, r)
			if err := u.write("{\"data\":1}\n"); err != nil {
				t.Fatal(err)
			}
			open = append(open, u)
		}
		begin(w.as(ann, anUpload), someone)
		begin(w.as(ann, anUpload), another)
		w.from(another).wantRefused(w.as(ann, anUpload), protocol.RateLimited, "uploads_per_client")
		begin(w.as(bob, anUpload), someone)
		begin(anUpload, someone)
		begin(anUpload, someone)
		w.from(someone).wantRefused(anUpload, protocol.RateLimited, "uploads_per_client")
		for range 5 {
			begin(w.as(w.admin, anUpload), someone)
		}
		if a := open[0].finish(); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.body)
		}
		begin(w.as(ann, anUpload), someone)
		for i, u := range open[1:] {
			if a := u.finish(); a.status != 201 || a.Stored != 1 {
				t.Errorf("%d: got %d %s", i, a.status, a.body)
			}
		}
	})
}

// Those who do not say who they are cannot take the room from those who do.
func TestBodiesOfStrangersLeaveRoomForOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newGuarded(t, Options{Limits: Limits{Bodies: 400 << 10}})
		healthy := w.bearing(w.admin).attach(protocol.WebSocket, helloAs(w.admin, `"channels":{"a":{}}`))
		defer healthy.hangUp()
		var open []*sending
		for i := range 8 {
			u := w.from(fmt.Sprintf("192.0.2.%d:1", i+1)).upload(t, request{method: "POST", path: "/v1/commands"})
			_ = u.write(strings.Repeat(" ", 90<<10))
			open = append(open, u)
		}
		if n := w.g.door.Taken().Bodies; n > 200<<10 || n < 90<<10 {
			t.Errorf("%d bytes of strangers are held", n)
		}
		large := poster("a", "text/plain", strings.Repeat("x", 90<<10))
		if a := w.from("198.51.100.1:1").call(w.as(w.admin, large)); a.status != 201 {
			t.Errorf("an origin: got %d %s", a.status, a.body)
		}
		commands := request{method: "POST", path: "/v1/commands", body: `{"session":"s","commands":[{"op":"ping","cid":1}],"x":"` + strings.Repeat("x", 90<<10) + `"}`}
		if a := w.from("198.51.100.1:1").call(w.as(w.token("ann", chat), commands)); a.status != 200 {
			t.Errorf("a session's commands: got %d %s", a.status, a.body)
		}
		w.from("198.51.100.1:1").wantRefused(commands, protocol.Unavailable, "bodies")
		for _, u := range open {
			_ = u.finish()
		}
		if n := w.g.door.Taken().Bodies; n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}

// Its sender goes on at another node, from what is stored.
func TestADrainEndsAnUpload(t *testing.T) {
	for media, c := range streamed {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, Options{}, broker.Options{})
			u := w.upload(t, poster("a", media, ""))
			_ = u.write(c.message)
			if err := w.g.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			a, ok := u.answered()
			if !ok {
				t.Fatalf("%s: not answered", media)
			}
			a.wantProblem(t, media, protocol.Unavailable)
			if a.Stored != 1 || a.header.Get("Retry-After") == "" {
				t.Errorf("%s: got %s %v", media, a.body, a.header)
			}
		})
	}
}

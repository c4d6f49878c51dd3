package fairlead

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// talk publishes a number every 100 ms until stop is called, which returns them all.
func (f *fake) talk() (stop func() []string) {
	quit, all := make(chan struct{}), make(chan []string)
	go func() {
		var said []string
		for {
			select {
			case <-time.After(100 * time.Millisecond):
				said = append(said, fmt.Sprint(len(said)))
				f.publish(said[len(said)-1])
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

// block answers everything but those transports with 403.
func block(open ...protocol.Transport) func(protocol.Transport, int, *outlet) bool {
	return func(transport protocol.Transport, _ int, out *outlet) bool {
		if slices.Contains(open, transport) {
			return false
		}
		http.Error(out.w, "no", http.StatusForbidden)
		return true
	}
}

func TestAMuteWebSocketIsOvertakenBySSEInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		f.fault = func(transport protocol.Transport, _ int, out *outlet) bool {
			if transport != protocol.WebSocket {
				return false
			}
			_ = f.open(out)
			out.await()
			return true
		}
		begun := time.Now()
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		sub.want("a", "+sse")
		if took := time.Since(begun); took > 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// TestASwitchInMidStreamLosesAndRepeatsNothing climbs while messages come, by each way up and down.
func TestASwitchInMidStreamLosesAndRepeatsNothing(t *testing.T) {
	for _, low := range []protocol.Transport{protocol.SSE, protocol.Stream, protocol.Poll} {
		t.Run(string(low), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.WebSocket, low}})
				begun := time.Now()
				f.fault = func(transport protocol.Transport, n int, out *outlet) bool {
					if transport == protocol.WebSocket && time.Since(begun) < 20*time.Second {
						return block()(transport, n, out)
					}
					return false
				}
				sub := follow(t, c, fromStart)
				stop := f.talk()
				sub.until(400, time.Minute) // 40 s: the climb is at 30
				sub.want(strings.Join(sub.texts, " "), "-websocket +"+string(low)+" +websocket")
				f.network.swallow()() // what is there dies, what is new works
				sub.until(600, time.Minute)
				said := stop()
				sub.until(len(said), time.Minute)
				if got := strings.Join(sub.texts, " "); got != strings.Join(said, " ") {
					t.Errorf("got %s", got)
				}
				if low != protocol.Poll && (len(f.byes) == 0 || !strings.Contains(f.byes[0], `"attachment":"a1"`)) {
					t.Errorf("the byes were %q", f.byes)
				}
			})
		})
	}
}

func TestASilentDeathIsNoticedWithinABeatAndTwoSeconds(t *testing.T) {
	for _, transport := range protocol.Transports() {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake(t, Options{Transports: []protocol.Transport{transport}})
				sub := follow(t, c, protocol.Start{})
				sub.attached()
				if _, err := c.Ping(t.Context()); err != nil { // leaves a connection for later requests
					t.Fatal(err)
				}
				time.AfterFunc(40*time.Second, func() {
					f.network.swallow()()
					f.publish("a")
				})
				begun := time.Now()
				sub.until(1, time.Hour)
				if took := time.Since(begun) - 40*time.Second; took > fakeBeat+2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestASlowBeatEndsTheSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > 1 || f.open(out) != nil {
				return false
			}
			f.welcome(out)
			time.Sleep(250 * time.Millisecond)
			_ = out.send(protocol.Proof())
			time.Sleep(fakeBeat + 500*time.Millisecond) // too long, but not so long that another is proven
			_ = out.send(protocol.Beat(f.end()))
			time.Sleep(time.Second)
			messages, _ := f.after(0)
			_ = out.send(messages[0].Wire())
			out.await()
			return true
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		time.AfterFunc(5200*time.Millisecond, func() { f.publish("a") })
		sub.until(1, time.Minute)
		sub.want("a", "+websocket")
		if f.counts[protocol.WebSocket] != 2 {
			t.Errorf("%d attachments were tried", f.counts[protocol.WebSocket])
		}
	})
}

func TestALongMessageOverASlowNetworkIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.SSE}})
		f.publish("a")
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if f.open(out) != nil {
				return true
			}
			f.welcome(out)
			time.Sleep(250 * time.Millisecond)
			_ = out.send(protocol.Proof())
			for _, b := range f.log[0].Wire().Event() {
				time.Sleep(time.Second)
				_, _ = out.w.Write([]byte{b})
				_ = http.NewResponseController(out.w).Flush()
			}
			out.await()
			return true
		}
		sub := follow(t, c, fromStart)
		sub.until(1, time.Hour)
		sub.want("a", "+sse")
	})
}

func TestAPollThatIsSentAwayObeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Poll}})
		var away, back time.Time
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			switch n {
			case 2:
				away = time.Now()
				answer(out.w, 200, map[string]any{"frames": []json.RawMessage{protocol.Goaway(20*time.Second, "drain").JSON()}, "id": f.end()})
				return true
			case 3:
				back = time.Now()
			}
			return false
		}
		sub := follow(t, c, protocol.Start{})
		time.AfterFunc(time.Minute, func() { f.publish("a") })
		sub.until(1, time.Hour)
		if took := back.Sub(away); took < 20*time.Second || took > 22*time.Second {
			t.Errorf("came back after %v", took)
		}
	})
}

func TestAGoawayLeavesNoTimeWithoutAnAttachment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n > 1 || f.open(out) != nil {
				return false
			}
			time.AfterFunc(10050*time.Millisecond, func() { _ = out.send(protocol.Goaway(time.Second, "drain")) }) // between two messages
			_ = f.serve(out)
			out.conn.Close()
			return true
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		stop := f.talk()
		sub.until(150, time.Minute)
		stop()
		sub.want(strings.Join(sub.texts, " "), "+websocket +websocket")
		if strings.Join(f.byes, " ") != "websocket" {
			t.Errorf("the byes were %q", f.byes)
		}
	})
}

func TestTheReturnOfTheNetworkIsNoticedAndNothingIsLearned(t *testing.T) {
	for _, visibly := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, c := newFake(t, Options{})
			sub := follow(t, c, protocol.Start{})
			sub.attached()
			for range 3 {
				var back time.Time
				time.AfterFunc(40*time.Second, func() {
					leave := f.network.swallow
					if visibly {
						leave = f.network.leave
					}
					time.AfterFunc(12*time.Second, leave())
					time.AfterFunc(12*time.Second, func() {
						back = time.Now()
						f.publish("a")
					})
				})
				sub.until(len(sub.texts)+1, time.Hour)
				limit := time.Second
				if !visibly {
					limit += pingLimit
				}
				if took := time.Since(back); took > limit {
					t.Errorf("visibly: %v: took %v", visibly, took)
				}
			}
			if got := strings.Join(sub.notes, " "); strings.Count(got, "offline") != 3 || strings.Contains(got, "+sse") {
				t.Errorf("visibly: %v: %s", visibly, got)
			}
		})
	}
}

func TestAnAttachmentFromALaterNowIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.fault = func(transport protocol.Transport, n int, out *outlet) bool {
			switch {
			case transport == protocol.WebSocket: // from before the message, and mute from then on
				if f.open(out) == nil {
					time.Sleep(340 * time.Millisecond)
					f.welcome(out)
					f.publish("a")
					out.await()
				}
				return true
			case transport == protocol.SSE && n == 1: // from after it
				time.Sleep(100 * time.Millisecond)
			}
			return false
		}
		sub := follow(t, c, protocol.Start{})
		sub.until(1, 10*time.Second)
		f.publish("b")
		sub.until(2, 10*time.Second)
		if sub.texts[0] != "a" || f.counts[protocol.SSE] != 2 {
			t.Errorf("got %v with %d attachments by SSE", sub.texts, f.counts[protocol.SSE])
		}
	})
}

func TestWhatIsRememberedSavesTheRaceAndSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(Memory)
		f, c := newFake(t, Options{Memory: memory})
		f.net = "home"
		f.fault = block(protocol.SSE)
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		time.AfterFunc(time.Second, func() { f.publish("a") })
		sub.until(1, time.Minute)
		kept, err := json.Marshal(memory)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Memory)
		if err := json.Unmarshal(kept, again); err != nil {
			t.Fatal(err)
		}
		f2, c2 := newFake(t, Options{Memory: again})
		f2.net = "home"
		sub = follow(t, c2, protocol.Start{})
		sub.attached()
		sub.want("", "+sse")
		if got := fmt.Sprint(f2.attaches); got != "[sse]" {
			t.Errorf("tried %s", got)
		}
	})
}

func TestAMemoryForgetsInTimeAndHasABound(t *testing.T) {
	m := new(Memory)
	m.note(recollection{Net: "home", Good: protocol.SSE, Bad: []protocol.Transport{protocol.WebSocket}}, noon)
	for _, c := range []struct {
		after time.Duration
		good  protocol.Transport
		bad   int
	}{{0, protocol.SSE, 1}, {badFor, protocol.SSE, 0}, {goodFor, "", 0}} {
		r := m.recall("home", noon.Add(c.after))
		if r.Good != c.good || len(r.Bad) != c.bad || r.Net != "home" {
			t.Errorf("after %v: %+v", c.after, r)
		}
	}
	for i := range 2 * maxNetworks {
		m.note(recollection{Net: fmt.Sprint(i), Good: protocol.Poll}, noon)
	}
	if r := m.recall("home", noon); r.Good != "" || len(m.networks) != maxNetworks {
		t.Errorf("%d networks, and %+v", len(m.networks), r)
	}
	if r := m.latest(noon); r.Net != fmt.Sprint(2*maxNetworks-1) {
		t.Errorf("the latest is %+v", r)
	}
	if err := json.Unmarshal([]byte(`{"not":"a memory"}`), m); err == nil {
		t.Error("nonsense is read")
	}
}

func TestBeatsAreAskedForWhereIdleConnectionsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.WebSocket}})
		f.beat = 20 * time.Second
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if n == 1 {
				time.AfterFunc(16250*time.Millisecond, func() { out.conn.Close() })
			}
			return false
		}
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		time.AfterFunc(4250*time.Millisecond, func() { f.publish("a") })
		time.AfterFunc(time.Minute, func() { f.publish("b") })
		sub.until(2, 2*time.Minute)
		if first, second := f.hellos[0].Beat, f.hellos[1].Beat; first != 0 || second != 6000 {
			t.Errorf("asked for %d, and then for %d ms", first, second)
		}
	})
}

func TestPollsAreShortenedWhereProxiesDoNotWaitForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Poll}})
		f.beat = 20 * time.Second
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			if *out.hello.Wait <= 10 {
				return false
			}
			time.Sleep(10 * time.Second)
			http.Error(out.w, "too slow", http.StatusGatewayTimeout)
			return true
		}
		sub := follow(t, c, protocol.Start{})
		time.AfterFunc(time.Minute, func() { f.publish("a") })
		sub.until(1, 2*time.Minute)
		sub.want("a", "+poll -poll +poll")
		if got := *f.hellos[len(f.hellos)-1].Wait; got != 5 {
			t.Errorf("the last poll waited %v s", got)
		}
	})
}

func TestAPollThatIsAnsweredAtOnceWithNothingIsNotRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{Transports: []protocol.Transport{protocol.Poll}})
		f.fault = func(_ protocol.Transport, n int, out *outlet) bool {
			out.hello.Wait = new(float64) // as a cache would
			return false
		}
		sub := follow(t, c, protocol.Start{})
		time.AfterFunc(time.Minute, func() { f.publish("a") })
		sub.until(1, 2*time.Minute)
		if n := f.counts[protocol.Poll]; n > 65 {
			t.Errorf("%d polls in a minute", n)
		}
	})
}

func TestAnUpgradeThatAProxyTookOutIsNoFaultOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		f.publish("a")
		f.fault = func(transport protocol.Transport, n int, out *outlet) bool {
			if transport == protocol.WebSocket {
				problem(out.w, &protocol.Error{Code: protocol.BadRequest, Message: "something took the Upgrade out"})
			}
			return transport == protocol.WebSocket
		}
		sub := follow(t, c, fromStart)
		sub.until(1, time.Minute)
		sub.want("a", "-websocket +sse")
	})
}

func TestCloseSaysBye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t, Options{})
		sub := follow(t, c, protocol.Start{})
		sub.attached()
		sub.sub.Close()
		synctest.Wait()
		if fmt.Sprint(f.byes) != "[websocket]" {
			t.Errorf("the byes were %q", f.byes)
		}
	})
}

// TestWhoIsNotAskedForLongHasNotBeenSilent is a caller that takes its time, or a laptop that wakes up.
func TestWhoIsNotAskedForLongHasNotBeenSilent(t *testing.T) {
	for _, transport := range protocol.Transports() {
		synctest.Test(t, func(t *testing.T) {
			f, c := newFake(t, Options{Transports: []protocol.Transport{transport}})
			sub := follow(t, c, protocol.Start{})
			sub.attached()
			for i := range 5 {
				time.Sleep(10 * time.Minute)
				f.publish(fmt.Sprint(i))
				sub.until(i+1, time.Minute)
			}
			sub.want("0 1 2 3 4", "+"+string(transport))
		})
	}
}

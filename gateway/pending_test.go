package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// Clients that read nothing fill what may wait to be written: nobody new is
// taken then, those that read are served as ever, and those that do not are
// cut off before long.
func TestClientsThatReadNothingDoNotUseUpTheMemory(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		const stuck, pending = 20, 128 << 10
		w := newWorld(t, Options{Limits: Limits{Pending: pending}}, broker.Options{})
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.want("proof")
		healthy.withstands(func() {
			var links []*link
			for range stuck {
				l := w.attach(transport, `{"channels":{"flood":{}}}`)
				l.want("proof")
				links = append(links, l)
			}
			w.publish("flood", `"`+strings.Repeat("x", 32<<10)+`"`)
			synctest.Wait()
			if held := w.g.door.Taken().Pending; held < stuck*(32<<10) {
				t.Fatalf("%d bytes wait: this shows nothing", held)
			}
			for _, r := range []request{anAttach, aPoll, {method: "GET", path: "/v1/channels/flood/messages"}} {
				w.wantRefused(r, protocol.Unavailable, "pending")
			}
			healthy.sendText(`{"op":"subscribe","channel":"flood","cid":1}`)
			if f := healthy.want("reply"); f.Error.Code != "unavailable" || f.RetryAfterMS == 0 {
				t.Errorf("got %s", f.raw)
			}
			healthy.wantServed()

			time.Sleep(w.wantRefused(anAttach, protocol.Unavailable, "pending"))
			_ = w.call(aPoll)            // which finds them stuck
			time.Sleep(2 * closeTimeout) // for a WebSocket whose write has come to its own end
			w.settle()
			left := 0
			for _, l := range links {
				if w.g.attachment(l.welcome.Attachment) != nil {
					left++
				}
			}
			if left > pending/(32<<10) {
				t.Errorf("%d clients that read nothing are still attached", left)
			}
			w.attach(transport, aHello).hangUp()
			for _, l := range links {
				l.hangUp()
			}
		})
	}, streams...)
}

// Those that were stuck before there was too much are found when it becomes that.
func TestClientsThatAreStuckMakeRoomAtOnce(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{Pending: 80 << 10}}, broker.Options{})
		stuck := func(channel string) *link {
			l := w.attach(transport, `{"channels":{"`+channel+`":{}}}`)
			l.want("proof")
			w.publish(channel, `"`+strings.Repeat("x", 32<<10)+`"`)
			return l
		}
		attached := func(l *link) bool { return w.g.attachment(l.welcome.Attachment) != nil }
		first, second := stuck("a"), stuck("b")
		time.Sleep(admission.PressedStall + time.Second)
		if !attached(first) || !attached(second) {
			t.Fatal("they were cut off while there was room")
		}
		third := stuck("c")
		time.Sleep(2 * closeTimeout)
		if attached(first) && attached(second) || !attached(third) { // when one has gone there may be room enough
			t.Errorf("attached are %v, %v, %v: want the third, and room", attached(first), attached(second), attached(third))
		}
		for _, l := range []*link{first, second, third} {
			l.hangUp()
		}
	}, streams...)
}

// What begins to be written while there is too much has little time, though nobody asks for room.
func TestAWriteThatIsTooMuchHasLittleTime(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{Limits: Limits{Pending: 16 << 10}}, broker.Options{})
		l := w.attach(transport, aHello)
		defer l.hangUp()
		l.want("proof")
		w.publish("a", `"`+strings.Repeat("x", 32<<10)+`"`)
		time.Sleep(admission.PressedStall + 2*closeTimeout)
		if w.g.attachment(l.welcome.Attachment) != nil {
			t.Error("it is still attached")
		}
	}, streams...)
}

// A client that asks and does not read is not read from while too much waits, and everybody else's commands are answered.
func TestRepliesThatNobodyReadsAreBoundedInAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{Pending: 64 << 10, Frame: 128 << 10}}, broker.Options{})
		for i := range 50 {
			w.publish("b", fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 2<<10)))
		}
		healthy := w.attach(protocol.WebSocket, aHello)
		defer healthy.hangUp()
		healthy.want("proof")
		var links []*link
		for range 10 {
			l := w.attach(protocol.WebSocket, `{"channels":{}}`)
			l.want("proof")
			links = append(links, l)
		}
		sent := make(chan int, len(links))
		for _, l := range links {
			go func() { // ends with the connection
				n := 0
				for ; n < 100; n++ {
					if sendQuietly(l, `{"op":"history","channel":"b","cid":1}`) != nil {
						break
					}
				}
				sent <- n
			}()
		}
		synctest.Wait()
		// Each holds a page that is being written, and one reply more.
		if held := w.g.door.Taken().Pending; held > 10*2*(110<<10) {
			t.Errorf("%d KiB wait to be written", held>>10)
		}
		healthy.wantServed()
		for _, l := range links {
			l.hangUp()
		}
		total := 0
		for range links {
			total += <-sent
		}
		if total > 100 {
			t.Errorf("%d commands were read, of clients that read no reply", total)
		}
		synctest.Wait()
		if held := w.g.door.Taken().Pending; held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
	})
}

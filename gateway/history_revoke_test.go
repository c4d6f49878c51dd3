package gateway

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// interrupted is a context that something happens with when somebody is about to wait for it.
type interrupted struct {
	context.Context

	once *sync.Once
	by   func()
}

func (c interrupted) Deadline() (time.Time, bool) {
	c.once.Do(c.by)
	return c.Context.Deadline()
}

// What was taken back while a page waited for its turn is not delivered.
func TestAPageIsForWhoMayStillReadItWhenItHasBeenRead(t *testing.T) {
	for what, takeBack := range map[string]func(*guarded){
		"nothing":     func(*guarded) {},
		"the sub":     func(w *guarded) { w.revoke(`"sub":"ann"`) },
		"the session": func(w *guarded) { w.revoke(`"session":"s"`) },
		"its time":    func(*guarded) { time.Sleep(2 * time.Second) },
	} {
		bubble(t, func(t *testing.T) {
			o, minter, admin := guard(t, Options{}, nil)
			w := &guarded{newWorld(t, o, broker.Options{TailBytes: 1}), minter, admin}
			w.publish("chat.1", 1, 2, 3)
			grant, err := w.g.identify(t.Context(), client{}, credential{text: w.tokenFor("ann", chat, 2*time.Second)}, "s")
			if err != nil {
				t.Fatal(err)
			}
			happened := false
			ctx := interrupted{t.Context(), new(sync.Once), func() {
				happened = true
				takeBack(w)
			}}
			page, err := w.g.history(ctx, caller{from: client{grant: grant}, session: "s"}, "chat.1", protocol.Range{})
			if !happened {
				t.Fatal("nothing waited: this shows nothing")
			}
			if what == "nothing" {
				if err != nil || len(page.Messages) != 3 {
					t.Errorf("got %v, %v", page, err)
				}
			} else if code := protocol.ErrorFrom(err).Code; page != nil || code != protocol.Unauthorized && code != protocol.Expired {
				t.Errorf("%s: got %v, %v", what, page, err)
			}
			if held := w.g.door.Taken().Pending; held != 0 {
				t.Errorf("%s: %d bytes are still held", what, held)
			}
		})
	}
}

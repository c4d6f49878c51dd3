package gateway

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// Whose an attachment is (PROTOCOL.md 2.5), for each of those that there are.

// A holder is somebody, by all that shows who they are: tokens and keys, or nothing.
type holder struct {
	who   string
	shows []string
}

// withHolders configures, beside the API key that is there, anonymous clients
// and a second key, and returns that. It has a user's name.
func withHolders() (key string, change func(*auth.Options)) {
	key = auth.NewAPIKey()
	return key, func(a *auth.Options) {
		a.Anonymous = &chat
		a.APIKeys = append(a.APIKeys, auth.APIKey{Name: "ann", Hash: auth.HashAPIKey(key), Rights: auth.Everything()})
	}
}

func (g *guarded) holders(key string) []holder {
	return []holder{
		{"ann", []string{g.token("ann", chat), g.token("ann", auth.Everything())}},
		{"bob", []string{g.token("bob", chat)}},
		{"who has no sub", []string{g.token("", chat), g.token("", chat)}},
		{"an API key", []string{g.admin}},
		{"the API key ann", []string{key}},
		{"anonymous", []string{""}},
	}
}

// checkHolders attaches everybody to far, and lets everybody send commands for that to near.
func checkHolders(t *testing.T, near, far *guarded, transport protocol.Transport, all []holder) {
	t.Helper()
	for i, owner := range all {
		l := far.attach(transport, helloAs(owner.shows[0], `"session":"s","channels":{"chat.1":{}}`))
		for j, other := range all {
			what := "of " + owner.who + " by " + string(transport) + ", commands by " + other.who
			for _, shown := range other.shows {
				if i != j {
					near.touchBy(what, shown, l)
					continue
				}
				for _, f := range near.showing(shown).commands(l, `{"op":"subscribe","channel":"chat.2"}`, `{"op":"unsubscribe","channel":"chat.2"}`, `{"op":"beat"}`, `{"op":"auth"}`) {
					if !f.OK {
						t.Errorf("%s: got %s %+v", what, f.raw, f.Error)
					}
				}
			}
		}
		far.publish("chat.1", i)
		f := l.next()
		for f.Op == "subscribed" || f.Op == "beat" || f.Op == "proof" { // as the owner asked for
			f = l.next()
		}
		if f.Op != "message" || f.Channel != "chat.1" {
			t.Errorf("%s's by %s: got %s", owner.who, transport, f.raw)
		}
		if f := near.showing(owner.shows[0]).commands(l, `{"op":"bye"}`)[0]; !f.OK {
			t.Errorf("%s's by %s: bye got %+v", owner.who, transport, f.Error)
		}
		l.hangUp()
	}
}

// showing is a client that shows that with every request, or nothing if it is empty.
func (g *guarded) showing(shown string) *world {
	if shown == "" {
		return g.world
	}
	return g.bearing(shown)
}

func TestAnAttachmentTakesCommandsOfItsHolderAlone(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		key, change := withHolders()
		w := newGuardedBy(t, Options{}, change)
		checkHolders(t, w, w, transport, w.holders(key))
	}, streams...)
}

func TestAnAttachmentTakesCommandsOfItsHolderAloneOnAnotherNode(t *testing.T) {
	key, change := withHolders()
	near, far, _ := twoGuardedBy(t, change)
	for _, transport := range streams {
		checkHolders(t, near, far, transport, near.holders(key))
	}
}

// What comes on a WebSocket is its own; the token in it may be another's.
func TestAnAttachmentIsNotGivenToAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		key, change := withHolders()
		w := newGuardedBy(t, Options{}, change)
		all := w.holders(key)
		for i, owner := range all {
			l := w.attach(protocol.WebSocket, helloAs(owner.shows[0], `"channels":{}`))
			for j, other := range all {
				for _, shown := range other.shows {
					if shown == "" {
						continue // which auth cannot say
					}
					f := l.command(`{"op":"auth","cid":1,"token":"` + shown + `"}`)
					if i != j {
						f.wantError(t, owner.who+"'s for "+other.who, protocol.Forbidden)
					} else if !f.OK {
						t.Errorf("%s's for the same: got %s", owner.who, f.raw)
					}
				}
			}
			l.hangUp()
		}
	})
}

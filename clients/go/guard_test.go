package fairlead

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead/fairlead/protocol"
)

// guard is a fake's knowledge of tokens.
type guard struct {
	grace time.Duration
	mute  bool // a socket is closed without a word

	mu       sync.Mutex // guards the following
	grants   map[string]*grant
	attached map[string]*outlet
	begun    int
	uses     []string // where which token was shown
	revoked  time.Time
}

// grant is what a token is good for. It is changed under the guard's mu.
type grant struct {
	until    time.Time // zero: for ever
	channels []string  // nil: all
	revoked  bool
}

var errNotGranted = &protocol.Error{Code: protocol.Forbidden, Message: "the token does not grant it"}

func newGuard() *guard { return &guard{grants: map[string]*grant{}, attached: map[string]*outlet{}} }

// issue makes a token for so long, 0 for ever.
func (g *guard) issue(life time.Duration, channels ...string) (token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	token = fmt.Sprintf("secret-%d", len(g.grants)+1)
	g.grants[token] = &grant{channels: channels, revoked: !time.Now().Truncate(time.Second).After(g.revoked)} // PROTOCOL.md 4.7
	if life > 0 {
		g.grants[token].until = time.Now().Add(life)
	}
	return token
}

// expire makes every token too old.
func (g *guard) expire() { g.all(func(one *grant) { one.until = time.Now() }) }

// revoke ends what there is.
func (g *guard) revoke() {
	g.all(func(one *grant) { one.revoked = true })
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = time.Now()
}

func (g *guard) all(change func(*grant)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.grants {
		change(one)
	}
	for _, out := range g.attached {
		out.change()
	}
}

func (out *outlet) change() {
	select {
	case out.changed <- struct{}{}:
	default:
	}
}

// refusal is why the grant is not good, or nil.
func (g *grant) refusal() *protocol.Error {
	switch {
	case g.revoked:
		return &protocol.Error{Code: protocol.Unauthorized, Message: "the token was revoked"}
	case !g.until.IsZero() && !time.Now().Before(g.until):
		return &protocol.Error{Code: protocol.Expired, Message: "the token has expired"}
	}
	return nil
}

func (g *grant) covers(pattern string) *protocol.Error {
	if g == nil || g.channels == nil || slices.Contains(g.channels, pattern) {
		return nil
	}
	return errNotGranted
}

func (g *grant) left() time.Duration {
	if g == nil || g.until.IsZero() {
		return 0
	}
	return time.Until(g.until)
}

// check is the grant of a token, or why there is none.
func (g *guard) check(token, where string) (*grant, *protocol.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uses = append(g.uses, where+" "+token)
	one := g.grants[token]
	if one == nil {
		return nil, &protocol.Error{Code: protocol.Unauthorized, Message: "there is no such token"}
	}
	return one, one.refusal()
}

func shown(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// admit looks at a request that is not for an attachment.
func (g *guard) admit(w http.ResponseWriter, r *http.Request) *protocol.Error {
	if g == nil || r.URL.Path == "/v1/ping" {
		return nil
	}
	_, err := g.check(shown(r), r.Method+" "+r.URL.Path)
	return err
}

// attach looks at an attachment's token, and refuses it as its transport can.
func (g *guard) attach(out *outlet) bool {
	if g == nil {
		return true
	}
	one, err := g.check(shown(out.r), string(out.transport))
	switch {
	case err != nil && out.conn != nil:
		g.close(out, err)
	case err != nil:
		out.w.Header().Del("Content-Type")
		problem(out.w, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun++
	out.grant, out.id = one, fmt.Sprintf("a%d", g.begun)
	g.attached[out.id] = out
	return err == nil
}

func (g *guard) detach(out *outlet) {
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.attached, out.id)
	}
}

func (g *guard) close(out *outlet, err *protocol.Error) {
	if !g.mute {
		_ = out.send(protocol.ErrorFrame(err))
	}
	_ = ws.WriteFrame(out.conn, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(err.Code.CloseCode()), err.Message)))
}

// over tells when the attachment ends because of its grant, and which subscription does now.
func (g *guard) over(out *outlet) (at <-chan time.Time, pattern string) {
	if g == nil {
		return nil, ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range out.hello.Channels {
		if out.grant.covers(name) != nil {
			pattern = name
			delete(out.hello.Channels, name)
		}
	}
	switch {
	case out.grant.revoked:
		return time.After(0), pattern
	case !out.grant.until.IsZero():
		return time.After(out.grant.left() + g.grace), pattern
	}
	return nil, pattern
}

func (g *guard) end(out *outlet) {
	err := g.reason(out)
	if out.conn != nil {
		g.close(out, err)
		return
	}
	_ = out.send(protocol.ErrorFrame(err))
}

// reason is why the attachment ends.
func (g *guard) reason(out *outlet) *protocol.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return out.grant.refusal()
}

// auth carries out the command for the attachment that the request names.
func (g *guard) auth(r *http.Request, body []byte) *protocol.Reply {
	commands, _ := protocol.ParseCommands(body)
	command, _ := protocol.ParseCommand(commands.Commands[0])
	g.mu.Lock()
	out := g.attached[commands.Attachment]
	g.mu.Unlock()
	if out == nil {
		return &protocol.Reply{To: command.CID, Err: &protocol.Error{Code: protocol.Gone, Message: "it has ended"}}
	}
	return g.renew(out, command.CID, shown(r), "auth by POST")
}

func (g *guard) authInBand(out *outlet, frame []byte) protocol.Wire {
	command, _ := protocol.ParseCommand(frame)
	return g.renew(out, command.CID, command.Token, "auth").Wire()
}

func (g *guard) renew(out *outlet, cid json.RawMessage, token, where string) *protocol.Reply {
	one, err := g.check(token, where)
	if err != nil {
		return &protocol.Reply{To: cid, Err: err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	out.grant = one
	out.change()
	return &protocol.Reply{To: cid, Result: map[string]any{"expires_in": one.left().Milliseconds()}}
}

// shows is what was shown since the last call.
func (g *guard) shows() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := strings.Join(g.uses, ", ")
	g.uses = nil
	return all
}

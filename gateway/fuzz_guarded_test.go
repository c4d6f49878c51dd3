package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// watched is a guarded world that looks at everything that is stored.
type watched struct {
	*guarded
	narrow, expired string // tokens: of ann, for chat.*; and of somebody, for everything
	reader          *broker.Reader
}

const theSecret = "5f0c2b6de1d94c6f"

func newWatched(f *testing.F) *watched {
	f.Helper()
	o, minter, admin := guard(f, Options{Limits: Limits{Frame: 4 << 10, Batch: 16 << 10, PublishesPerSub: -1, PublishBytesPerSub: -1, AttachmentsPerSub: -1}}, nil)
	w := &watched{guarded: &guarded{newRealWorld(f, o, broker.Options{MaxBytes: 16 << 20}), minter, admin}}
	w.narrow, w.expired = w.tokenFor("ann", chat, 24*time.Hour), w.tokenFor("eve", auth.Everything(), time.Nanosecond)
	w.reader = w.broker.NewReader(nil)
	f.Cleanup(w.reader.Close)
	if _, err := w.reader.Subscribe(f.Context(), ">", protocol.Start{}); err != nil {
		f.Fatal(err)
	}
	w.publish("secret", `"`+theSecret+`"`)
	if _, err := w.reader.Next(f.Context(), make([]*broker.Entry, 1)); err != nil {
		f.Fatal(err)
	}
	return w
}

// The credentials that somebody may show.
const (
	nothing = iota
	narrowToken
	expiredToken
	forgedToken
)

// shown is a credential, or none.
func (w *watched) shown(who int) string {
	switch uint(who) % 4 {
	case narrowToken:
		return w.narrow
	case expiredToken:
		return w.expired
	case forgedToken:
		return strings.TrimRight(w.narrow, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") // without its signature
	default:
		return ""
	}
}

var anID = regexp.MustCompile(`"id":"[a-z0-9]+-([0-9]+)"`)

// check checks what was answered, and stored: nothing that the credential does not cover.
func (w *watched) check(t *testing.T, who int, answer string) {
	t.Helper()
	signature := w.narrow[strings.LastIndexByte(w.narrow, '.')+1:]
	for _, secret := range []string{theSecret, w.admin, string(testSecret), signature} {
		if strings.Contains(answer, secret) {
			t.Errorf("the answer holds a secret: %q", answer)
		}
	}
	var last uint64 // what was stored, or read, is there by then
	for _, id := range anID.FindAllStringSubmatch(answer, -1) {
		if seq, err := strconv.ParseUint(id[1], 10, 64); err == nil {
			last = max(last, seq)
		}
	}
	var entries [16]*broker.Entry
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // an id in a message's data may be anything
	defer cancel()
	for {
		n := w.reader.TryNext(entries[:])
		if n == 0 && w.reader.Watermark().Seq < last {
			var err error
			if n, err = w.reader.Next(ctx, entries[:]); err != nil {
				return
			}
		}
		for _, e := range entries[:n] {
			var m struct{ Op, From string }
			err := json.Unmarshal(e.Wire.JSON(), &m)
			if _, below := strings.CutPrefix(e.Channel, "chat."); err != nil || !below || m.From != "ann" || m.Op != "message" || uint(who)%4 != narrowToken {
				t.Errorf("%d: got stored: %s", who, e.Wire.JSON())
			}
		}
		if n == 0 {
			return
		}
	}
}

// Whoever shows whatever, by whatever request: what it does is what was granted.
func FuzzGuardedHTTP(f *testing.F) {
	const cookie = "Sec-Fetch-Site: same-origin\nCookie: __Host-fairlead="
	for who := range 4 {
		for _, seed := range [][4]string{
			{"GET", "/v1/attach?channel=chat.1&channel=secret&after=0&wait=0", "Accept: text/event-stream", ""},
			{"GET", "/v1/attach?channel=%3E&wait=0&last=10", "", ""},
			{"POST", "/v1/attach", "", `{"session":"s","wait":0,"channels":{"chat.*":{"after":"0"},"*":{"last":5}}}`},
			{"GET", "/v1/attach?wait=0&channel=secret&ticket=tk_AAAA", "", ""},
			{"POST", "/v1/commands", "", `{"session":"s","attachment":"x.1","commands":[{"op":"publish","cid":1,"channel":"chat.1","data":1},{"op":"history","channel":"secret"},{"op":"auth"},{"op":"bye"}]}`},
			{"POST", "/v1/channels/chat.1/messages", "Content-Type: text/event-stream", "event: x\ndata: 1\nid: 2\n\n"},
			{"POST", "/v1/channels/chat.1/messages", "Content-Type: application/json", `[{"data":1,"from":"root"}]`},
			{"POST", "/v1/channels/chat%2e1/messages", "Content-Type: text/plain\nFairlead-From: root", "x"},
			{"POST", "/v1/channels/secret/messages", "Content-Type: application/x-ndjson", "{\"data\":1}\n{"},
			{"GET", "/v1/channels/secret/messages?last=5", "Authorization: Basic YTpi", ""},
			{"DELETE", "/v1/channels/chat.1/messages", "", ""},
			{"POST", "/v1/publish", "", `{"channels":["chat.1","secret"],"data":{}}`},
			{"POST", "/v1/tickets", "", ""},
			{"POST", "/v1/revoke", "", `{"sub":"ann"}`},
			{"GET", "/metrics", "", ""},
			{"GET", "/v1/ping?token=x", "Origin: https://a.example", ""},
		} {
			f.Add(who, who%2 == 0, seed[0], seed[1], seed[2], []byte(seed[3]))
		}
	}
	w := newWatched(f)
	f.Fuzz(func(t *testing.T, who int, byCookie bool, method, target, headers string, body []byte) {
		header := request{headers: headers}.header()
		if shown := w.shown(who); byCookie {
			for name, values := range (request{headers: cookie + shown}.header()) {
				header[http.CanonicalHeaderKey(name)] = values
			}
		} else if shown != "" {
			header.Set("Authorization", "Bearer "+shown)
		}
		a := w.fuzzedCall(t, method, target, header, body)
		a.check(t, target)
		w.check(t, who, a.body.String())
	})
}

// Whatever a header says, who is not a trusted proxy is who it is, and what a
// trusted one adds is the last word.
func FuzzClient(f *testing.F) {
	f.Add("10.0.0.1:5", "192.0.2.7", "for=192.0.2.7", false)
	f.Add("10.0.0.1:5", "192.0.2.7", "for=_hidden", true)
	f.Add("10.0.0.1:5", "192.0.2.7", "", true)
	f.Add("192.0.2.9:5", "1.1.1.1, 10.0.0.2", "", false)
	f.Add("[::ffff:10.0.0.1%eth0]:5", "unknown, [2001:db8::1]:80", "for=\"[2001:db8::1]:80\"", true)
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	plain := newRealWorld(f, Options{TrustedProxies: []netip.Prefix{trusted}}, broker.Options{}).g
	standard := newRealWorld(f, Options{TrustedProxies: []netip.Prefix{trusted}, Forwarded: true}, broker.Options{}).g
	f.Fuzz(func(t *testing.T, remote, xff, forwarded string, byForwarded bool) {
		g := plain
		if byForwarded {
			g = standard
		}
		seen := func(xff, forwarded []string) (c client) {
			r := &http.Request{Method: "GET", Header: http.Header{forwardedFor: xff, "Forwarded": forwarded}, RemoteAddr: remote}
			g.policy.Load().followProxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { c = g.clientOf(r) })).ServeHTTP(&recorder{header: http.Header{}}, r)
			return c
		}
		c, last := seen([]string{xff}, []string{forwarded}), seen([]string{xff, "198.51.100.9"}, []string{forwarded, "for=198.51.100.9"})
		unread := seen([]string{xff}, nil) // what proxies do not write, and let through
		if byForwarded {
			unread = seen(nil, []string{forwarded})
		}
		if c.addr != unread.addr || c.ip != unread.ip {
			t.Errorf("got %+v, and %+v without the header that does not count", c, unread)
		}
		if c.ip.IsLoopback() || c.ip.Is4In6() || c.addr.Zone() != "" {
			t.Errorf("got %+v", c)
		}
		peer, err := netip.ParseAddrPort(remote)
		if err != nil {
			if c.addr.IsValid() || last.addr.IsValid() {
				t.Errorf("nobody is %+v, %+v", c, last)
			}
			return
		}
		if addr := peer.Addr().Unmap().WithZone(""); !trusted.Contains(addr) {
			if c.addr != addr || last.addr != addr {
				t.Errorf("%s is taken for %s, %s", addr, c.addr, last.addr)
			}
		} else if last.addr != netip.MustParseAddr("198.51.100.9") {
			t.Errorf("what the proxy %s added is taken for %s", addr, last.addr)
		}
	})
}

// Whatever another node, or the records that all share, may say: an answer is a
// reply, and nothing is a reason to panic.
func FuzzNodes(f *testing.F) {
	w := newWatched(f)
	l := w.attach(protocol.WebSocket, helloAs(w.narrow, `"session":"s","channels":{"chat.1":{}}`))
	f.Cleanup(l.hangUp)
	go func() { _, _ = io.Copy(io.Discard, l.conn) }() // ends with the connection
	id := l.welcome.Attachment
	f.Add([]byte(`{"session":"s","attachment":"A","sub":"ann","frame":{"op":"subscribe","channel":"chat.2","cid":1}}`))
	f.Add([]byte(`{"session":"s","attachment":"A","sub":"ann","frame":{"op":"publish","channel":"chat.2","data":1}}`))
	f.Add([]byte(`{"session":"s","attachment":"A","sub":"ann","renewal":{"sub":"ann","subscribe":["chat.1"]},"frame":{"op":"auth"}}`))
	f.Add([]byte(`{"session":"s","attachment":"A","sub":"ann","frame":null}`))
	f.Add([]byte(`{"sub":"x","at":"2000-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"jti":"x","at":"2000-01-01T00:00:00Z","until":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		answer := w.g.relayed(t.Context(), []byte(strings.ReplaceAll(string(text), `"A"`, strconv.Quote(id))))
		var reply struct{ Op string }
		if err := json.Unmarshal(answer, &reply); err != nil || reply.Op != "reply" {
			t.Errorf("got %q", answer)
		}
		w.g.heardOf("", text)
	})
}

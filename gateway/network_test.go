package gateway

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// PROTOCOL.md 2.4.
func TestNetworkHints(t *testing.T) {
	b, err := os.ReadFile("../testdata/net.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Key, Address, Net string }
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) == 0 {
		t.Fatal(len(vectors), err)
	}
	for _, v := range vectors {
		if got := netHint([]byte(v.Key), netip.MustParseAddr(v.Address)); got != v.Net {
			t.Errorf("the hint of %s is %q, want %q", v.Address, got, v.Net)
		}
	}
	if got := netHint([]byte("k"), netip.Addr{}); got != "" {
		t.Errorf("no address has the hint %q", got)
	}
}

// from is a client of w at that address.
func (w *world) from(addr string) *world {
	at := *w
	at.useDial(func() net.Conn { return w.listener.dialFrom(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))) })
	return &at
}

var netSyntax = regexp.MustCompile(`^[A-Za-z0-9_-]{12}$`)

func TestClientsOfOneNetworkShareAHintOnEveryTransport(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		hint := func(addr string) string {
			l := w.from(addr).attach(transport, `{"wait":0,"channels":{"a":{}}}`)
			defer l.hangUp()
			if !netSyntax.MatchString(l.welcome.Net) {
				t.Errorf("%s has the hint %q", addr, l.welcome.Net)
			}
			return l.welcome.Net
		}
		home, six := hint("192.0.2.7:1000"), hint("[2001:db8:1:2::3]:1000")
		for addr, want := range map[string]string{"192.0.2.250:2": home, "[::ffff:192.0.2.9]:3": home, "[2001:db8:1:ffff::]:4": six} {
			if got := hint(addr); got != want {
				t.Errorf("%s has the hint %q, want its network's, %q", addr, got, want)
			}
		}
		for _, addr := range []string{"192.0.3.7:1000", "[2001:db8:2::3]:1000"} {
			if got := hint(addr); got == home || got == six {
				t.Errorf("%s has another network's hint", addr)
			}
		}
	})
}

func TestAClientWithoutAnAddressHasNoHint(t *testing.T) {
	over(t, func(t *testing.T, transport protocol.Transport) {
		w := newWorld(t, Options{}, broker.Options{})
		l := w.attach(transport, `{"wait":0,"channels":{"a":{}}}`)
		if strings.Contains(string(l.welcome.raw), `"net"`) {
			t.Errorf("got %s, want no net", l.welcome.raw)
		}
	})
}

// hintOf is the hint that a gateway gives to one address.
func hintOf(t *testing.T, g *Gateway) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/v1/attach?channel=a&wait=0", nil)
	r.RemoteAddr = "192.0.2.7:1000"
	answer := httptest.NewRecorder()
	g.Handler().ServeHTTP(answer, r)
	var body struct{ Frames []frame }
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || len(body.Frames) != 1 || body.Frames[0].Net == "" {
		t.Fatalf("got %d %s, %v", answer.Code, answer.Body, err)
	}
	return body.Frames[0].Net
}

func TestAHintOutlivesARestartAndIsItsLogsOwn(t *testing.T) {
	dir := t.TempDir()
	var hints []string
	for _, dir := range []string{dir, dir, t.TempDir()} {
		t.Run("", func(t *testing.T) { // whose end stops the broker
			hints = append(hints, hintOf(t, newRealWorld(t, Options{}, broker.Options{Dir: dir}).g))
		})
	}
	if hints[0] != hints[1] || hints[0] == hints[2] {
		t.Errorf("got %q: the first two are one log's, before and after a restart, the third is another's", hints)
	}
}

func TestAHintIsTheSameOnEveryNode(t *testing.T) {
	url := startNATS(t)
	one := hintOf(t, newRealWorld(t, Options{}, broker.Options{URL: url}).g)
	if other := hintOf(t, newRealWorld(t, Options{}, broker.Options{URL: url}).g); other != one {
		t.Errorf("got %q on one node and %q on the other", one, other)
	}
}

// PROTOCOL.md 2.4: the proxy's address says nothing of the client's network.
func TestARequestByAProxyThatIsNotTrustedHasNoNetworkHint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, Options{}, broker.Options{})
		for header, hinted := range map[string]bool{"": true, "X-Forwarded-For: 192.0.2.1": false, "Forwarded: for=192.0.2.1": false} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = "192.0.2.7:1"
			if name, value, ok := strings.Cut(header, ": "); ok {
				r.Header.Set(name, value)
			}
			if got := w.g.netOf(w.g.clientOf(r)); (got != "") != hinted {
				t.Errorf("%q: got %q", header, got)
			}
		}
	})
}

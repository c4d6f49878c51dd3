package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
)

// clientBehind is whom a gateway with these trusted proxies takes for the sender of a request.
func clientBehind(t *testing.T, o Options, peer string, headers ...string) (c client) {
	t.Helper()
	p := &policy{proxies: o.TrustedProxies, forwarded: o.Forwarded}
	g := new(Gateway)
	g.policy.Store(p)
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = peer
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	var handler http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { c = g.clientOf(r) })
	if len(o.TrustedProxies) > 0 {
		handler = p.followProxies(handler)
	}
	handler.ServeHTTP(httptest.NewRecorder(), r)
	return c
}

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestOnlyTrustedProxiesAreBelieved(t *testing.T) {
	proxies := prefixes("10.0.0.0/8", "2001:db8:a::/48")
	const xff, fwd = "X-Forwarded-For: ", "Forwarded: "
	const proxy = "10.0.0.1:1000"
	for name, c := range map[string]struct {
		peer      string
		forwarded bool
		headers   []string
		proxied   bool
		want, ip  string // the address, and what it counts to
	}{
		"no proxy":                      {peer: "192.0.2.7:1", want: "192.0.2.7", ip: "192.0.2.7"},
		"no proxy, IPv6":                {peer: "[2001:db8:1:2:3::4]:1", want: "2001:db8:1:2:3::4", ip: "2001:db8:1:2::"},
		"mapped IPv4":                   {peer: "[::ffff:192.0.2.7]:1", want: "192.0.2.7", ip: "192.0.2.7"},
		"a zone":                        {peer: "[fe80::1%eth0]:1", want: "fe80::1", ip: "fe80::"},
		"this machine":                  {peer: "127.0.0.1:1", want: "127.0.0.1"},
		"this machine, IPv6":            {peer: "[::1]:1", want: "::1"},
		"no address":                    {peer: "@"},
		"a client that lies":            {peer: "192.0.2.7:1", headers: []string{xff + "198.51.100.1", fwd + "for=198.51.100.1"}, want: "192.0.2.7", ip: "192.0.2.7", proxied: true},
		"a proxy by itself":             {peer: proxy, want: "10.0.0.1"},
		"behind a proxy":                {peer: proxy, headers: []string{xff + "192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"behind an IPv6 proxy":          {peer: "[2001:db8:a::1]:1", headers: []string{xff + "2001:db8:1:2::7"}, want: "2001:db8:1:2::7", ip: "2001:db8:1:2::"},
		"behind a mapped proxy":         {peer: "[::ffff:10.0.0.1]:1", headers: []string{xff + "192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"behind three":                  {peer: proxy, headers: []string{xff + "192.0.2.7, 10.1.1.1, 10.2.2.2"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"a lie further left":            {peer: proxy, headers: []string{xff + "198.51.100.1, 192.0.2.7, 10.1.1.1"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"a lie on a line of its own":    {peer: proxy, headers: []string{xff + "198.51.100.1", xff + "192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"a lie that is a proxy's":       {peer: proxy, headers: []string{xff + "10.9.9.9, 192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"a lie as a mapped proxy":       {peer: proxy, headers: []string{xff + "198.51.100.1, ::ffff:192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"garbage":                       {peer: proxy, headers: []string{xff + "198.51.100.1, garbage, 10.1.1.1"}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"a port":                        {peer: proxy, headers: []string{xff + "198.51.100.1, 192.0.2.7:4711,10.1.1.1:80"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"a port, IPv6":                  {peer: proxy, headers: []string{xff + "[2001:db8:1:2::7]:4711"}, want: "2001:db8:1:2::7", ip: "2001:db8:1:2::"},
		"a port that is none":           {peer: proxy, headers: []string{xff + "198.51.100.1, 192.0.2.7:a:b"}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"an empty line":                 {peer: proxy, headers: []string{xff}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"a lie in the other header":     {peer: proxy, headers: []string{fwd + "for=198.51.100.1", xff + "192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"only the other header":         {peer: proxy, headers: []string{fwd + "for=198.51.100.1"}, want: "10.0.0.1"},
		"loopback behind a proxy":       {peer: proxy, headers: []string{xff + "127.0.0.1"}, want: "127.0.0.1"},
		"Forwarded":                     {peer: proxy, forwarded: true, headers: []string{fwd + "for=192.0.2.7"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"Forwarded, IPv6 with a port":   {peer: proxy, forwarded: true, headers: []string{fwd + `by=10.0.0.1;For="[2001:db8:1:2::7]:4711";proto=https`}, want: "2001:db8:1:2::7", ip: "2001:db8:1:2::"},
		"Forwarded, IPv4 with a port":   {peer: proxy, forwarded: true, headers: []string{fwd + `for="192.0.2.7:80" , for=10.1.1.1`}, want: "192.0.2.7", ip: "192.0.2.7"},
		"Forwarded, a lie":              {peer: proxy, forwarded: true, headers: []string{fwd + "for=198.51.100.1, for=192.0.2.7", xff + "198.51.100.2"}, want: "192.0.2.7", ip: "192.0.2.7"},
		"Forwarded, a lie in quotes":    {peer: proxy, forwarded: true, headers: []string{fwd + `for="192.0.2.7, 198.51.100.1"`}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"Forwarded, an open quote":      {peer: proxy, forwarded: true, headers: []string{fwd + `for="198.51.100.1, for=192.0.2.7`}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"Forwarded, open on its line":   {peer: proxy, forwarded: true, headers: []string{fwd + `for="198.51.100.1`, fwd + `for=192.0.2.7`}, want: "192.0.2.7", ip: "192.0.2.7"},
		"Forwarded, a quote left open":  {peer: proxy, forwarded: true, headers: []string{fwd + `for=198.51.100.1;x=", for="[2001:db8:1:2::7]"`}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"Forwarded, an escaped quote":   {peer: proxy, forwarded: true, headers: []string{fwd + `for=192.0.2.7;x="a\"b"`}, want: "192.0.2.7", ip: "192.0.2.7"},
		"Forwarded, hidden":             {peer: proxy, forwarded: true, headers: []string{fwd + "for=198.51.100.1, for=_hidden"}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"Forwarded, no for":             {peer: proxy, forwarded: true, headers: []string{fwd + "for=198.51.100.1, proto=https"}, want: "10.0.0.1", ip: "10.0.0.1", proxied: true},
		"Forwarded, only the other one": {peer: proxy, forwarded: true, headers: []string{xff + "198.51.100.1"}, want: "10.0.0.1"},
	} {
		got := clientBehind(t, Options{TrustedProxies: proxies, Forwarded: c.forwarded}, c.peer, c.headers...)
		want := client{proxied: c.proxied}
		if c.want != "" {
			want.addr = netip.MustParseAddr(c.want)
		}
		if c.ip != "" {
			want.ip = netip.MustParseAddr(c.ip)
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestWithoutTrustedProxiesNobodyIsBelieved(t *testing.T) {
	for _, peer := range []string{"10.0.0.1:1", "127.0.0.1:1"} {
		got := clientBehind(t, Options{}, peer, "X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7")
		if want := netip.MustParseAddrPort(peer).Addr(); got.addr != want {
			t.Errorf("got %v, want %v", got.addr, want)
		}
	}
}

// PROTOCOL.md 2.4: the hint is of the client's network, not of its proxy's.
func TestTheHintIsOfWhomATrustedProxyNames(t *testing.T) {
	w := newRealWorld(t, Options{TrustedProxies: prefixes("127.0.0.0/8")}, broker.Options{})
	hint := func(headers string) string {
		a := w.call(request{method: "GET", path: "/v1/attach?channel=a&wait=0", headers: headers})
		return parseFrame(t, a.Frames[0]).Net
	}
	if got, want := hint("X-Forwarded-For: 192.0.2.7"), netHint(w.g.netKey, netip.MustParseAddr("192.0.2.1")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if hint("") == hint("X-Forwarded-For: 192.0.2.7") {
		t.Error("the header changes nothing")
	}
}

// TestAProxyThatIsNotTrustedIsToldOfOnce counts warnings, of one policy and of the next.
func TestAProxyThatIsNotTrustedIsToldOfOnce(t *testing.T) {
	var logs strings.Builder
	g := &Gateway{log: slog.New(slog.NewTextHandler(&logs, nil))}
	ask := func(peer, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		if header != "" {
			r.Header.Set(header, "198.51.100.1")
		}
		g.clientOf(r)
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded"} {
		logs.Reset()
		p, err := g.newPolicy(Options{TrustedProxies: prefixes("10.0.0.0/8")})
		if err != nil {
			t.Fatal(err)
		}
		g.policy.Store(p)
		ask("127.0.0.1:1", "")
		ask("10.0.0.1:1", header)
		if logs.Len() > 0 {
			t.Errorf("logged %s", &logs)
		}
		ask("127.0.0.1:1", header)
		ask("192.0.2.7:1", header)
		if got := logs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "trusted_proxy") || !strings.Contains(got, "peer=127.0.0.1") {
			t.Errorf("logged %s", got)
		}
	}
}

func TestWhoTakesTurnsAtTheStoredLog(t *testing.T) {
	g := &Gateway{door: admission.New(Limits{CatchUpsPerClient: 3, SubscriptionsPerClient: 5, PatternsPerClient: 4}, nil, nil)}
	one := client{ip: netip.MustParseAddr("192.0.2.7")}
	for name, c := range map[string]struct {
		who  client
		want string
	}{
		"an address":                {one, "address 192.0.2.7"},
		"a subject":                 {one.with(&auth.Grant{Subject: "ann"}), "sub ann"},
		"an API key":                {one.with(&auth.Grant{Source: auth.FromAPIKey, APIKey: "shop"}), "key shop"},
		"a token without a sub":     {one.with(&auth.Grant{}), "address 192.0.2.7"},
		"this machine, by no token": {client{}, ""},
	} {
		want := broker.Client{Key: c.want, Most: 3, Subscriptions: 5, Patterns: 4}
		if name == "an API key" {
			want.Patterns = 0
		}
		if got := g.reads(c.who); got != want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	g.door.SetLimits(Limits{CatchUpsPerClient: -1, SubscriptionsPerClient: -1, PatternsPerClient: -1})
	if got := g.reads(one); got != (broker.Client{Key: got.Key}) {
		t.Errorf("without a limit: got %+v", got)
	}
}

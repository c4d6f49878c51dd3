package auth

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/protocol"
)

func TestAPIKeys(t *testing.T) {
	one, two := NewAPIKey(), NewAPIKey()
	if one == two || len(one) != len("fl_")+43 {
		t.Fatalf("got %s and %s", one, two)
	}
	v := verifier(t, Options{APIKeys: []APIKey{
		{Name: "shop", Hash: HashAPIKey(one), Rights: Rights{Publish: []string{"orders.>"}}},
		{Name: "all", Hash: strings.ToUpper(HashAPIKey(two)), Rights: Everything(), Manage: []string{"chat.>"}},
	}})
	if g := mustGrant(t, v, one); g.APIKey != "shop" || g.Subject != "" || !g.MayPublish("orders.1") || g.MayPublish("chat.1") || g.MaySubscribe("orders.1") {
		t.Errorf("got %+v", g)
	}
	if g := mustGrant(t, v, two); g.APIKey != "all" || !g.MaySubscribe(">") || !g.MayManage("chat.1") || g.MayManage(">") {
		t.Errorf("got %+v", g)
	}
	for _, wrong := range []string{"fl_", one[:len(one)-1], one + "x", HashAPIKey(one), "fl_" + HashAPIKey(one), NewAPIKey(), " " + one} {
		if g, err := v.Verify(t.Context(), wrong); err == nil || protocol.ErrorFrom(err).Code != protocol.Unauthorized || strings.Contains(err.Error(), wrong[3:]) && len(wrong) > 3 {
			t.Errorf("%q: got %v, %v", wrong, g, err)
		}
	}
}

// Two names for one key have two sets of rights, of which only one could count.
func TestTwoAPIKeysOfOneHashAreRefused(t *testing.T) {
	hash := HashAPIKey(NewAPIKey())
	for _, again := range []string{hash, strings.ToUpper(hash)} {
		_, err := NewVerifier(Options{APIKeys: []APIKey{
			{Name: "shop", Hash: hash, Rights: Everything()}, {Name: "other", Hash: HashAPIKey(NewAPIKey())}, {Name: "stats", Hash: again},
		}})
		if err == nil || !strings.Contains(err.Error(), `"shop" and "stats"`) || strings.Contains(err.Error(), again) {
			t.Errorf("got %v", err)
		}
	}
}

// Package demo is the page at the gateway's root: a room that two tabs can chat in, over a network that the visitor breaks.
package demo

import (
	"embed"
	"net/http"

	"github.com/fairlead/fairlead/gateway/page"
)

//go:embed static
var static embed.FS

// Handler serves the page at "/" and its files beside it. It answers 404 for anything else, and 405 for anything but GET and HEAD.
func Handler() http.Handler {
	return page.Handler("/", static, "there is nothing here: PROTOCOL.md lists what there is")
}

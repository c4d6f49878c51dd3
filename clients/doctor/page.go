package doctor

import "embed"

// Page is the page that a gateway serves at /doctor, and what that loads: the
// files of static, and findings.json, each below /doctor by its own name. The
// page needs nothing but plain GETs.
//
//go:embed static findings.json
var Page embed.FS

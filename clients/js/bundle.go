// Package js holds the JavaScript client as one ES module, as the gateway serves it at /v1/client.js.
package js

import _ "embed"

//go:generate go tool -modfile=../../tools.mod esbuild src/index.ts --bundle --minify --format=esm --target=es2022 --charset=utf8 --log-level=warning --outfile=bundle/client.js

// Bundle is the minified ES module built from src by go generate. It is shared: do not write to it.
//
//go:embed bundle/client.js
var Bundle []byte

// Package js is the JavaScript client as the gateway serves it. Its source,
// beside this file, is an npm package.
package js

import _ "embed"

//go:generate go tool -modfile=../../tools.mod esbuild src/index.ts --bundle --minify --format=esm --target=es2022 --outfile=bundle/client.js

// Bundle is the client as one minified ES module.
//
//go:embed bundle/client.js
var Bundle []byte

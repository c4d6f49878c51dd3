// Package js holds the JavaScript client as one ES module, as the gateway serves it at /v1/client.js.
package js

import _ "embed"

// The properties that are named here are renamed. None of them crosses a border of the bundle: frames, requests, options, events,
// diagnostics, storage, and what another module may be given (a Share, and its Shared). test/bundle.test.ts sees to that.

//go:generate go tool -modfile=../../tools.mod esbuild src/index.ts --bundle --minify --format=esm --target=es2022 --charset=utf8 --log-level=warning --mangle-props=^(answered|arm|ask|auth|back|carry|changed|deaf|drop|duplex|effects|end|expires|final|fresh|granted|head|hello|kept|kind|lasting|learn|live|load|matching|memory|open|pace|park|past|path|polled|recall|remembered|renewable|report|reset|restore|restrict|room|save|shelf|silent|sink|stale|subs|trouble|unanswered|unasked|unpark|unsent|uplink|view|welcomed)\z --outfile=bundle/client.js

// Bundle is the minified ES module built from src by go generate. It is shared: do not write to it.
//
//go:embed bundle/client.js
var Bundle []byte

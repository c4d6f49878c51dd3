// Package protocol is Fairlead's wire: names, cursors, messages, frames and
// error codes, as PROTOCOL.md lays them down. It is pure: no I/O, no clock,
// and nothing but the standard library. Everything in it may be used from
// several goroutines unless it says otherwise.
package protocol

// Version is the protocol's version, as it stands in paths.
const Version = "v1"

// Subprotocol is the WebSocket subprotocol (RFC 6455, section 1.9) of this version.
const Subprotocol = "fairlead.v1"

// Limits that belong to the protocol. A server's own limits are its options.
const (
	MaxNameBytes  = 200    // a channel name or a pattern
	MaxNameTokens = 16     // its tokens
	MaxTypeBytes  = 128    // a message's type
	MaxKeyBytes   = 128    // a message's idempotency key
	MaxCIDBytes   = 64     // a command's cid
	MaxSession    = 64     // a session's or attachment's id
	MaxLast       = 10_000 // messages that a subscription may rewind
	MaxCommands   = 100    // commands of one POST /v1/commands
	MaxBatch      = 1_000  // messages of one batch
)

//go:build race

package gateway

// slowdown is by how much less a test does that moves many bytes: the race detector looks at each.
const slowdown = 2

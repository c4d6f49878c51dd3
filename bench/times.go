package main

import (
	"fmt"
	"slices"
	"time"
)

// times are how long things took.
type times []time.Duration

// String tells the median, the 99th percentile and the largest.
func (t times) String() string {
	if len(t) == 0 {
		return "nothing was measured"
	}
	slices.Sort(t)
	at := func(q float64) time.Duration { return t[int(q*float64(len(t)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(0.5), at(0.99), at(1))
}

package gateway

import (
	"time"

	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/protocol"
)

// Limits bound what clients may cost.
type Limits = admission.Limits

// limits are the limits in force.
func (g *Gateway) limits() *Limits { return g.door.Limits() }

// told is what clients are told of the limits.
func told(l *Limits) protocol.Limits {
	return protocol.Limits{Frame: l.Frame, Channels: l.Channels, History: l.History, Wait: int(l.Wait / time.Second)}
}

// A sizeLimit is how many bytes something may have, by the name that its refusals are counted by.
type sizeLimit struct {
	name  string
	bytes int
}

func (g *Gateway) frameLimit() sizeLimit { return sizeLimit{"frame", g.limits().Frame} }
func (g *Gateway) batchLimit() sizeLimit { return sizeLimit{"batch", g.limits().Batch} }

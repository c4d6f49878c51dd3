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

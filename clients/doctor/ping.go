package doctor

import "github.com/fairlead/fairlead/protocol"

// A Pong is the answer to GET /v1/ping, whoever gave it.
type Pong struct {
	Status   int    `json:"status"`
	Type     string `json:"type"`
	By       string `json:"by"`       // who answered, as far as the headers tell
	Target   string `json:"target"`   // that it redirects to
	SameHost bool   `json:"samehost"` // and is of the host that was asked
	Fairlead bool   `json:"fairlead"` // it is what PROTOCOL.md 3.5 says
	Code     string `json:"code"`     // of an error of the gateway's own
	Detail   string `json:"detail"`   // of that
}

// JudgePong says what an answer to the ping means: nil if it is the gateway's.
func JudgePong(p Pong) []Finding {
	values := Values{"status": p.Status, "type": orNone(p.Type), "by": p.By, "target": p.Target}
	switch {
	case p.Status == 200 && p.Fairlead:
		return nil
	case p.Code == string(protocol.Forbidden):
		return []Finding{Found("forbidden", Values{"detail": p.Detail})}
	case p.Code != "":
		return []Finding{Found("refused", Values{"detail": p.Detail, "code": p.Code})}
	case p.Target != "" && p.SameHost:
		return []Finding{Found("redirected", values)}
	case p.Target != "" || p.Status == 511: // RFC 6585, section 6
		if p.Target == "" {
			values["target"] = Words.Labels["hidden"]
		}
		return []Finding{Found("portal", values)}
	case p.Status >= 502 && p.Status <= 504:
		return []Finding{Found("upstream_down", values)}
	default:
		return []Finding{Found("other_server", values)}
	}
}

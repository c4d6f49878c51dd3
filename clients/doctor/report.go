package doctor

import (
	"cmp"
	"slices"
	"time"
)

// ReportVersion is the version of the report's JSON form. Fields may be added within a version.
const ReportVersion = 1

// A Report is what a round of probes found. Its JSON form is stable: the
// command's --json and the page's copied report are the same.
type Report struct {
	Version   int       `json:"doctor"`    // ReportVersion
	Client    string    `json:"client"`    // "cli", or "browser"
	URL       string    `json:"url"`       // the gateway
	Time      time.Time `json:"time"`      // when the probes began
	Works     bool      `json:"works"`     // some transport does
	Transport string    `json:"transport"` // that the client will use; empty: none
	RTT       float64   `json:"rtt_ms"`    // of a ping on an open connection; 0: not known
	Probes    []Probe   `json:"probes"`
	Advice    []Advice  `json:"advice"`
}

// A Probe is what one probe found. Times are milliseconds from its start, and absent if it did not come so far.
type Probe struct {
	Name     string    `json:"probe"` // reach, websocket, sse, stream or poll
	OK       bool      `json:"ok"`
	Skipped  bool      `json:"skipped,omitempty"` // the gateway was not reached
	Text     string    `json:"text"`              // of a probe that went well or was skipped
	DNS      float64   `json:"dns_ms,omitempty"`
	Connect  float64   `json:"connect_ms,omitempty"`
	TLS      float64   `json:"tls_ms,omitempty"`
	RTT      float64   `json:"rtt_ms,omitempty"`
	Opened   float64   `json:"opened_ms,omitempty"`  // the response's headers
	Welcome  float64   `json:"welcome_ms,omitempty"` // the first frame; of a poll the whole answer
	Proof    float64   `json:"proof_ms,omitempty"`   // the second frame
	Findings []Finding `json:"findings"`
}

// Attached is the probe of a transport from what was observed.
func Attached(o Observation) Probe {
	p := Probe{Name: o.Probe, Opened: o.Opened, Welcome: o.Welcome, Proof: o.Proof}
	p.Conclude(Judge(o)...)
	return p
}

// Skipped is the probe of a transport that was not tried.
func Skipped(name string) Probe {
	return Probe{Name: name, Skipped: true, Text: Words.Labels["skipped"], Findings: []Finding{}}
}

// Conclude adds findings, and says whether the probe went well.
func (p *Probe) Conclude(found ...Finding) {
	p.Findings = append(p.Findings, found...)
	if p.Findings == nil {
		p.Findings = []Finding{} // in JSON a list, whatever was found
	}
	p.OK = !slices.ContainsFunc(p.Findings, func(f Finding) bool { return f.Severity == Bad })
	p.Text = ""
	if p.OK {
		p.Text = fill(Words.Probes[p.Name].OK, Values{"rtt_ms": p.RTT, "welcome_ms": p.Welcome, "proof_ms": p.Proof})
	}
}

// Conclude fills in what follows from the probes.
func (r *Report) Conclude() {
	r.Version, r.Works, r.Transport = ReportVersion, false, ""
	if best := slices.IndexFunc(Words.Ladder, r.works); best >= 0 {
		r.Works, r.Transport = true, Words.Ladder[best]
	}
	r.Advice = []Advice{}
	for _, p := range r.Probes {
		for _, f := range p.Findings {
			r.advise(Words.Findings[f.Code].Advice)
		}
	}
}

// Denied tells whether the gateway let nobody in, so that the transports are not known.
func (r *Report) Denied() bool {
	return !r.Works && slices.ContainsFunc(r.Probes, func(p Probe) bool {
		return slices.ContainsFunc(p.Findings, func(f Finding) bool { return slices.Contains(denials, f.Code) })
	})
}

// denials are the findings that the gateway lets nobody in.
var denials = []string{"token_missing", "token_refused", "origin_refused", "forbidden"}

// label is the name of what the client will use, for Words.Labels.
func (r *Report) label() string {
	if r.Denied() {
		return "denied"
	}
	return cmp.Or(r.Transport, "none")
}

func (r *Report) works(name string) bool {
	return slices.ContainsFunc(r.Probes, func(p Probe) bool { return p.Name == name && p.OK })
}

// advise adds the advice that is not given yet.
func (r *Report) advise(codes []string) {
	for _, code := range codes {
		if !slices.ContainsFunc(r.Advice, func(a Advice) bool { return a.Code == code }) {
			r.Advice = append(r.Advice, Words.Advice[code])
		}
	}
}

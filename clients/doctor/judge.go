package doctor

import (
	"mime"
	"strings"

	"github.com/fairlead/fairlead/protocol"
)

// How an attempt to attach ended before it was proven.
const (
	Timeout = "timeout" // the limit was reached
	Reset   = "reset"   // the connection was ended without an answer, or the response broke off
	EOF     = "eof"     // it was ended in order
	Damaged = "damaged" // what came makes no sense
	Failed  = "failed"  // and a browser is not told why
)

// An Observation is what one attempt to attach showed. Times are milliseconds
// from its start; zero has not happened. static/judge.js takes the same.
type Observation struct {
	Probe        string  `json:"probe"`         // the transport
	Limit        float64 `json:"limit"`         // after which it was given up
	RTT          float64 `json:"rtt"`           // of a ping; 0: not known
	End          string  `json:"end"`           // empty: it was proven
	Ended        float64 `json:"ended"`         // when
	Status       int     `json:"status"`        // of the response; 0: there was none
	By           string  `json:"by"`            // who answered, as far as the headers tell
	Token        bool    `json:"token"`         // one was shown
	Origin       string  `json:"origin"`        // of the page that made it; empty: no page did
	Code         string  `json:"code"`          // of an error of the gateway's own
	Detail       string  `json:"detail"`        // of that
	Forged       bool    `json:"forged"`        // 101, and not by RFC 6455
	Type         string  `json:"type"`          // Content-Type
	Encoding     string  `json:"encoding"`      // Content-Encoding
	CacheControl string  `json:"cache_control"` // Cache-Control
	Opened       float64 `json:"opened"`        // the headers came
	Welcome      float64 `json:"welcome"`       // the first frame came; of a poll: the whole answer
	Proof        float64 `json:"proof"`         // the second frame came
	Cached       bool    `json:"cached"`        // of a poll: a repeated GET was answered from a cache
	GetWorks     bool    `json:"get_works"`     // of a poll: by GET it goes
}

// media is what an HTTP transport's response must be.
var media = map[string]string{"sse": protocol.MediaSSE, "stream": protocol.MediaStream, "poll": protocol.MediaJSON}

// Judge says what an observation means. It depends on nothing else.
func Judge(o Observation) []Finding {
	if code := denial(o); code != "" {
		return []Finding{Found(code, Values{"detail": o.Detail, "origin": o.Origin})}
	}
	if found := judgeAnswer(o); found != nil {
		if o.Probe == "poll" && o.GetWorks {
			found = append(found, Found("post_blocked", nil))
		}
		return found
	}
	switch o.Probe {
	case "websocket":
		return judgeFrames(o, nil)
	case "poll":
		return judgePoll(o)
	default:
		return judgeStream(o)
	}
}

// denial is the code of the finding that the gateway lets nobody in like that, or "".
func denial(o Observation) string {
	switch protocol.Code(o.Code) {
	case protocol.Unauthorized, protocol.Expired:
		if o.Token {
			return "token_refused"
		}
		return "token_missing"
	case protocol.Forbidden:
		if o.Origin != "" {
			return "origin_refused"
		}
		return "forbidden"
	}
	return ""
}

// judgeAnswer judges everything up to the response's status.
func judgeAnswer(o Observation) []Finding {
	socket := o.Probe == "websocket"
	one := func(code string) []Finding {
		return []Finding{Found(code, Values{"status": o.Status, "by": o.By, "limit_ms": o.Limit})}
	}
	switch {
	case o.End == Failed:
		return one("upgrade_failed")
	case o.Status == 0 && socket && o.End == Timeout:
		return one("upgrade_timeout")
	case o.Status == 0 && socket:
		return one("upgrade_reset")
	case o.Status == 0 && o.End == Timeout && o.Probe != "poll":
		return one("stream_silent")
	case o.Status == 0 && o.End == Timeout:
		return one("request_timeout")
	case o.Status == 0:
		return one("request_reset")
	case socket && o.Code == string(protocol.BadRequest) && o.Status == 400:
		return one("upgrade_lost")
	case o.Code != "":
		return []Finding{Found("refused", Values{"detail": o.Detail, "code": o.Code})}
	case socket && o.Status != 101:
		return one("upgrade_blocked")
	case o.Forged:
		return one("upgrade_forged")
	case !socket && o.Status != 200:
		return one("attach_status")
	default:
		return nil
	}
}

func judgeStream(o Observation) (found []Finding) {
	got, _, _ := mime.ParseMediaType(o.Type)
	if want := media[o.Probe]; got != want {
		return []Finding{Found("type_rewritten", Values{"type": orNone(o.Type), "want": want})}
	}
	if o.Encoding != "" && o.Encoding != "identity" {
		found = append(found, Found("compressed", Values{"encoding": o.Encoding}))
	}
	if !strings.Contains(o.CacheControl, "no-store") || !strings.Contains(o.CacheControl, "no-transform") {
		found = append(found, Found("headers_rewritten", Values{"cache_control": o.CacheControl}))
	}
	return judgeFrames(o, found)
}

// judgeFrames judges when the frames came.
func judgeFrames(o Observation, found []Finding) []Finding {
	limits := Words.Limits
	values := Values{
		"limit_ms": o.Limit, "opened_ms": o.Opened, "welcome_ms": o.Welcome, "rtt_ms": o.RTT,
		"proof_ms": o.Proof, "late_ms": o.Proof - o.Welcome, "ended_ms": o.Ended,
	}
	add := func(code string) []Finding { return append(found, Found(code, values)) }
	switch {
	case o.End == Damaged:
		return add("damaged")
	case o.End == EOF || o.End == Reset:
		return add("ended")
	case o.Welcome == 0 && o.Probe == "websocket":
		return add("websocket_mute")
	case o.Welcome == 0:
		return add("stream_held")
	case o.Proof == 0:
		return add("proof_missing")
	case o.Proof-o.Welcome > limits.Proof:
		return add("proof_late")
	case o.Proof-o.Welcome < limits.Bunched:
		return add("bunched")
	case o.Welcome > limits.Welcome:
		return add("slow")
	case o.Probe != "websocket" && o.RTT > 0 && o.Welcome > 4*o.RTT+limits.Delayed:
		return add("delayed")
	default:
		return found
	}
}

func judgePoll(o Observation) []Finding {
	switch {
	case o.End != "":
		return []Finding{Found("poll_partial", nil)}
	case o.Cached:
		return []Finding{Found("poll_cached", nil)}
	default:
		return nil
	}
}

func orNone(s string) string {
	if s == "" {
		return "no type"
	}
	return s
}

// JudgeIdle says what became of a connection that was held idle: for how long,
// and how long nothing had come when it ended, in milliseconds.
func JudgeIdle(held, silent float64, o Observation) []Finding {
	values := Values{"held_ms": held, "silent_ms": silent}
	if denial(o) != "" { // as of a token that has expired meanwhile
		return Judge(o)
	}
	if o.End == Timeout || o.Probe == "poll" && o.Welcome > 0 { // a poll ends by itself
		return []Finding{Found("idle_held", values)}
	}
	return []Finding{Found("idle_cut", values)}
}

package protocol

// A Wire is a frame in the forms of all transports at once: one buffer, of
// which each transport sends a part. It is immutable, and shared by everyone
// who is sent the frame. The zero Wire is none.
type Wire struct {
	buf  []byte // an SSE event: [id: …\n][event: …\n]data: <JSON>\n\n
	json int    // where the JSON begins
}

// newWire begins a wire in b with its SSE fields; the caller appends the JSON to buf and calls end.
// An empty event is SSE's default, message; a zero id is left out.
func newWire(b []byte, event string, id ID) Wire {
	if id != (ID{}) {
		b = append(b, "id: "...)
		b = id.Append(b)
		b = append(b, '\n')
	}
	if event != "" {
		b = append(b, "event: "...)
		b = append(b, event...)
		b = append(b, '\n')
	}
	b = append(b, "data: "...)
	return Wire{buf: b, json: len(b)}
}

func (w Wire) end() Wire {
	w.buf = append(w.buf, '\n', '\n')
	return w
}

// JSON is the frame itself: a WebSocket message, or an element of a poll's frames.
func (w Wire) JSON() []byte { return w.buf[w.json : len(w.buf)-2] }

// Line is the frame as a line of NDJSON.
func (w Wire) Line() []byte { return w.buf[w.json : len(w.buf)-1] }

// Event is the frame as an event of SSE (WHATWG HTML, section 9.2).
func (w Wire) Event() []byte { return w.buf }

// Len is the bytes that the wire holds in memory.
func (w Wire) Len() int { return len(w.buf) }

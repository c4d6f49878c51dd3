package gateway

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/protocol"
)

// The origin API (PROTOCOL.md 4.2 to 4.5).

// channelOf is the channel in the path. chi matches the path as it was sent if
// that cannot be told from its decoded form, and as decoded otherwise.
func channelOf(r *http.Request) (string, error) {
	name := chi.URLParam(r, "channel")
	if r.URL.RawPath != "" {
		decoded, err := url.PathUnescape(name)
		if err != nil {
			return "", protocol.Errorf(protocol.BadRequest, "the channel in the path is not percent-encoded (RFC 3986, section 2.1)")
		}
		name = decoded
	}
	return name, protocol.CheckChannel(name)
}

func (g *Gateway) handlePublish(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	channel, err := channelOf(r)
	if err != nil {
		return err
	}
	if err := mayPublish(from.grant, channel); err != nil { // before its body is read
		return err
	}
	defaults, err := defaultsOf(r)
	if err != nil {
		return err
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch media {
	case protocol.MediaSSE, protocol.MediaStream:
		return g.ingest(w, r, from, channel, media, defaults)
	case protocol.MediaJSON:
		body, err := g.readBody(w, r, from, g.batchLimit())
		if err != nil {
			return err
		}
		if from, err = g.still(from); err != nil {
			return err
		}
		if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
			return g.publishArray(w, r, from, channel, body, defaults)
		}
		return g.publishJSON(w, r, from, channel, body, defaults)
	default:
		return g.publishRaw(w, r, from, channel, media, defaults)
	}
}

// defaults are what headers say of a message that does not say it itself.
type defaults struct{ typ, key string }

func defaultsOf(r *http.Request) (defaults, error) {
	d := defaults{typ: r.Header.Get("Fairlead-Type"), key: r.Header.Get("Idempotency-Key")}
	if n := len(d.key); n >= 2 && d.key[0] == '"' && d.key[n-1] == '"' {
		d.key = d.key[1 : n-1] // a structured field's string (RFC 9651, section 3.3.3)
	}
	if err := protocol.CheckType(d.typ); err != nil {
		return d, err
	}
	return d, protocol.CheckKey(d.key)
}

func (d defaults) apply(p *protocol.Publication) {
	if p.Type == "" {
		p.Type = d.typ
	}
	if p.Key == "" {
		p.Key = d.key
	}
}

func (g *Gateway) publishJSON(w http.ResponseWriter, r *http.Request, from client, channel string, body []byte, d defaults) error {
	if limit := g.frameLimit(); len(body) > limit.bytes {
		return g.tooLarge(limit)
	}
	p, err := protocol.ParsePublication(body)
	if err != nil {
		return err
	}
	d.apply(p)
	receipt, err := g.publish(r.Context(), from, channel, p)
	if err != nil {
		return err
	}
	return g.answerReceipt(w, receipt)
}

func (g *Gateway) publishRaw(w http.ResponseWriter, r *http.Request, from client, channel, media string, d defaults) error {
	body, err := g.readBody(w, r, from, g.frameLimit())
	if err != nil {
		return err
	}
	if from, err = g.still(from); err != nil {
		return err
	}
	p := broker.Publication{Channel: channel, Type: d.typ, Key: d.key, Payload: body, Encoding: protocol.RawPayload(body)}
	if media == "application/octet-stream" {
		p.Encoding = protocol.EncodingBase64
	}
	receipt, err := g.store(r.Context(), from, p)
	if err != nil {
		return err
	}
	return g.answerReceipt(w, receipt)
}

// answerReceipt answers with 201, or with 200 if nothing had to be stored.
func (g *Gateway) answerReceipt(w http.ResponseWriter, receipt broker.Receipt) error {
	status := http.StatusCreated
	if receipt.Duplicate {
		status = http.StatusOK
	}
	return g.marshalJSON(w, status, receipt)
}

func (g *Gateway) publishArray(w http.ResponseWriter, r *http.Request, from client, channel string, body []byte, d defaults) error {
	messages, err := protocol.ParsePublications(body)
	if err != nil {
		return err
	}
	batch := make([]broker.Publication, len(messages))
	for i, p := range messages {
		if p.Key == "" && d.key != "" {
			p.Key = d.key + "/" + strconv.Itoa(i)
		}
		d.apply(p)
		if batch[i], err = publicationOf(channel, p); err != nil {
			e := protocol.ErrorFrom(err)
			return protocol.Errorf(e.Code, "message %d of the batch: %s", i, e.Message)
		}
	}
	if err := mayPublish(from.grant, channel); err != nil { // still, now that the body is here
		return err
	}
	// The first is counted with the request.
	if err := g.door.Request(from.counted(), len(batch)-1); err != nil {
		return err
	}
	if err := g.door.Publish(from.counted(), channel, len(batch), payloadBytes(batch)); err != nil {
		return err
	}
	return g.publishBatch(w, r.Context(), from, batch)
}

func payloadBytes(batch []broker.Publication) (n int) {
	for i := range batch {
		n += len(batch[i].Payload)
	}
	return n
}

// handleFanout is POST /v1/publish.
func (g *Gateway) handleFanout(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	d, err := defaultsOf(r)
	if err != nil {
		return err
	}
	body, err := g.readBody(w, r, from, g.batchLimit())
	if err != nil {
		return err
	}
	f, err := protocol.ParseFanout(body)
	if err != nil {
		return err
	}
	if from, err = g.still(from); err != nil {
		return err
	}
	d.apply(&f.Publication)
	batch := make([]broker.Publication, len(f.Channels))
	for i, channel := range f.Channels {
		if err := mayPublish(from.grant, channel); err != nil {
			return err
		}
		if batch[i], err = publicationOf(channel, &f.Publication); err != nil {
			return err
		}
	}
	if err := g.admitFanout(from, batch); err != nil {
		return err
	}
	return g.publishBatch(w, r.Context(), from, batch)
}

// admitFanout takes a message to each of several channels: what is small on its
// way in is large in the log.
func (g *Gateway) admitFanout(from client, batch []broker.Publication) error {
	bytes := len(batch[0].Payload)
	if err := g.door.Fanout(bytes, len(batch)); err != nil {
		return err
	}
	// The first is counted with the request.
	if err := g.door.Request(from.counted(), len(batch)-1); err != nil {
		return err
	}
	channels := make([]string, len(batch))
	for i := range batch {
		channels[i] = batch[i].Channel
	}
	return g.door.PublishToEach(from.counted(), channels, bytes)
}

func (g *Gateway) publishBatch(w http.ResponseWriter, ctx context.Context, from client, batch []broker.Publication) error {
	for i := range batch {
		batch[i].From, batch[i].Keys = from.sub(), from.keys()
	}
	receipts, err := g.broker.PublishBatchFor(context.WithoutCancel(ctx), g.reads(from), batch)
	if err != nil {
		g.countExceeded(err)
		return err
	}
	g.metrics.in.Add(float64(len(receipts)))
	status := http.StatusOK
	for _, receipt := range receipts {
		if !receipt.Duplicate {
			status = http.StatusCreated
		}
	}
	return g.marshalJSON(w, status, struct {
		ID  protocol.ID      `json:"id"`
		IDs []broker.Receipt `json:"ids"`
	}{receipts[len(receipts)-1].ID, receipts})
}

// handlePurge is DELETE …/messages.
func (g *Gateway) handlePurge(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	channel, err := channelOf(r)
	if err != nil {
		return err
	}
	if err := mayManage(from.grant, channel); err != nil {
		return err
	}
	id, err := g.broker.Purge(context.WithoutCancel(r.Context()), channel)
	if err != nil {
		return err
	}
	return g.marshalJSON(w, http.StatusOK, struct {
		ID protocol.ID `json:"id"`
	}{id})
}

// describe names a channel's message in an error.
func describe(n int, err error) *protocol.Error {
	e := protocol.ErrorFrom(err)
	return (&protocol.Error{Code: e.Code, Message: fmt.Sprintf("message %d: %s", n, strings.TrimSpace(e.Message)), RetryAfter: e.RetryAfter}).Because(err)
}

package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/admission"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// caller is who sends a command: a session, over an attachment of this node or with a request of its own.
type caller struct {
	from         client
	relayed      bool // another node has counted the command
	paid         bool // the request has counted it to its address
	session      string
	attachment   *attachment       // the one that the command came over, or was meant for; nil if it is not here
	attachmentID string            // what a request said
	renewal      *auth.Grant       // what the command auth is about, if another node has verified it
	held         *admission.Answer // for the replies of a request; nil for what an attachment is owed
}

// own tells whether the command came over its attachment.
func (c caller) own() bool { return c.attachmentID == "" && c.attachment != nil }

// execute carries out one command and returns its reply, or nil if none is wanted.
func (g *Gateway) execute(ctx context.Context, from caller, frame []byte) *protocol.Reply {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	command, err := protocol.ParseCommand(frame)
	if refusal := g.admitCommand(from, command); refusal != nil {
		err = refusal // and not what is wrong with it: that costs as much to find out
	}
	if err == nil && !from.own() { // it may have waited behind others, and the grant be taken back
		from.from.grant, err = g.again(from.from.grant, from.session)
	}
	var result any
	if err == nil {
		result, err = g.run(ctx, from, command, frame)
	}
	if raw, ok := result.(*protocol.Reply); ok {
		return raw // another node's
	}
	if err != nil {
		e := protocol.ErrorFrom(err)
		g.countError(e)
		g.logInternal(e)
		return &protocol.Reply{To: command.CID, Err: e}
	}
	if command.CID == nil && from.own() {
		return nil
	}
	return &protocol.Reply{To: command.CID, Result: result}
}

// admitCommand takes one command, whether or not it is well-formed. An attachment may always leave.
func (g *Gateway) admitCommand(from caller, c *protocol.Command) error {
	switch {
	case from.relayed, c.Op == protocol.OpBye && from.own():
		return nil
	case from.paid:
		return g.door.Resume(from.from.counted(), from.session)
	default:
		return g.door.Command(from.from.counted(), from.session)
	}
}

// run carries out a command that is well-formed.
func (g *Gateway) run(ctx context.Context, from caller, c *protocol.Command, frame []byte) (any, error) {
	if err := checkExpired(c, from.from.grant); err != nil {
		return nil, err
	}
	switch c.Op {
	case protocol.OpPublish:
		return g.publish(ctx, from.from, c.Channel, &c.Publication)
	case protocol.OpHistory:
		return g.history(ctx, from, c.Channel, c.Range())
	case protocol.OpPing:
		return g.ping(), nil
	default:
		return g.runAttached(ctx, from, c, frame)
	}
}

// checkExpired reports that the grant has expired, unless the command is one of
// those by which that is mended or come to its end.
func checkExpired(c *protocol.Command, grant *auth.Grant) error {
	if c.Op == protocol.OpAuth || c.Op == protocol.OpBye {
		return nil
	}
	return grant.Check(time.Now())
}

// runAttached carries out a command that is about an attachment, wherever that lives.
func (g *Gateway) runAttached(ctx context.Context, from caller, c *protocol.Command, frame []byte) (any, error) {
	if c.Op == protocol.OpAuth && from.renewal == nil {
		var err error
		if from.renewal, err = g.renewalOf(ctx, from, c.Token); err != nil {
			return nil, err
		}
	}
	a := from.attachment
	if a == nil {
		return g.elsewhere(ctx, from, c, frame)
	}
	if err := checkExpired(c, a.grant.Load()); err != nil { // whatever the request's is
		return nil, err
	}
	switch c.Op {
	case protocol.OpSubscribe:
		return a.subscribe(ctx, c.Channel, c.Start)
	case protocol.OpAuth:
		return a.renew(from.renewal)
	case protocol.OpUnsubscribe:
		a.reader.Unsubscribe(c.Channel)
		return nil, nil
	case protocol.OpBeat:
		a.beatNow()
		return nil, nil
	default: // bye
		var e ending
		if from.own() && c.CID != nil {
			e.last = (&protocol.Reply{To: c.CID}).Wire() // nothing can be owed after the end
		}
		a.end(e)
		return nil, nil
	}
}

// ping is the answer to a ping, over any transport.
func (g *Gateway) ping() any {
	return struct {
		ID   protocol.ID `json:"id"`
		Time int64       `json:"time"`
	}{g.broker.Head(), time.Now().UnixMilli()}
}

// publish stores a client's or an origin's message.
func (g *Gateway) publish(ctx context.Context, from client, channel string, p *protocol.Publication) (broker.Receipt, error) {
	publication, err := publicationOf(channel, p)
	if err != nil {
		return broker.Receipt{}, err
	}
	return g.store(ctx, from, publication)
}

func publicationOf(channel string, p *protocol.Publication) (broker.Publication, error) {
	payload, encoding, err := protocol.ParsePayload(p.Data, p.Encoding)
	return broker.Publication{Channel: channel, Type: p.Type, Key: p.Key, Payload: payload, Encoding: encoding}, err
}

// store stores one message, whether or not its publisher stays for the answer.
// Whatever p says, it is from whom the grant names.
func (g *Gateway) store(ctx context.Context, from client, p broker.Publication) (broker.Receipt, error) {
	if err := mayPublish(from.grant, p.Channel); err != nil {
		return broker.Receipt{}, err
	}
	if err := g.door.Publish(from.counted(), p.Channel, 1, len(p.Payload)); err != nil {
		return broker.Receipt{}, err
	}
	p.From, p.Keys = from.sub(), from.keys()
	began := time.Now()
	receipt, err := g.broker.Publish(context.WithoutCancel(ctx), p)
	if err == nil {
		g.metrics.in.Inc()
		g.metrics.publish.Observe(time.Since(began).Seconds())
	}
	return receipt, err
}

// handleCommands is POST /v1/commands (PROTOCOL.md 4.1).
func (g *Gateway) handleCommands(w http.ResponseWriter, r *http.Request) error {
	who := g.clientOf(r)
	if err := g.door.Request(who.counted(), 1); err != nil { // before anything else is looked at
		return err
	}
	at := g.arrive(r, who)
	body, err := g.readBody(w, r, at.from, g.batchLimit())
	if err != nil {
		return err
	}
	request, err := protocol.ParseCommands(body)
	if err != nil {
		return err
	}
	if who.grant, err = g.settle(r.Context(), at, request.Token, request.Session); err != nil {
		return err
	}
	from := caller{from: who, session: request.Session, attachmentID: request.Attachment, attachment: g.attached(request.Session, request.Attachment, who.grant)}
	from.held = g.door.Answer(who.counted())
	defer from.held.Leave()
	body = []byte(`{"replies":[`)
	for i, frame := range request.Commands {
		from.paid = i == 0
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, g.executeWithin(r.Context(), from, frame, g.limits().Batch-len(body)).Wire().JSON()...)
		from.held.Has(len(body))
	}
	g.writeJSON(w, http.StatusOK, append(body, "]}"...), from.held)
	return nil
}

// executeWithin is execute for one command of several, with so much room left for their replies.
func (g *Gateway) executeWithin(ctx context.Context, from caller, frame []byte, room int) *protocol.Reply {
	limit := g.limits().Frame
	switch {
	case len(frame) > limit:
		g.countRefused("frame")
		return &protocol.Reply{Err: protocol.Errorf(protocol.TooLarge, "the command is over the limit of %d bytes", limit)}
	case room <= 0:
		g.countRefused("replies")
		return &protocol.Reply{Err: protocol.Errorf(protocol.TooLarge, "the replies of this request are over the limit of %d bytes: send this command in another", g.limits().Batch)}
	default:
		return g.execute(ctx, from, frame)
	}
}

// attached is the attachment of this node with that id, if it is the session's
// and the subject's, and has not ended: one that has may still wait for its peer
// to close.
func (g *Gateway) attached(session, id string, holder *auth.Grant) *attachment {
	if a := g.attachment(id); a != nil && a.session == session && a.grant.Load().SameHolder(holder) && !a.ended() {
		return a
	}
	return nil
}

// relayedCommand is what one node asks of another.
type relayedCommand struct {
	Session    string          `json:"session"`
	Attachment string          `json:"attachment"`
	Holder     auth.Grant      `json:"holder"` // who asks, and nothing of what they may do
	Renewal    *auth.Grant     `json:"renewal,omitempty"`
	Frame      json.RawMessage `json:"frame"`
}

// elsewhere carries a command to the node that has the attachment.
func (g *Gateway) elsewhere(ctx context.Context, from caller, c *protocol.Command, frame []byte) (any, error) {
	if from.attachmentID == "" {
		return nil, protocol.Errorf(protocol.BadRequest, "this command is about an attachment: name it, as its welcome did")
	}
	node, _, _ := strings.Cut(from.attachmentID, ".")
	if node == g.broker.Node() {
		return nil, errGone()
	}
	if c.Op == protocol.OpAuth { // the token goes no further
		bare := struct {
			Op  string          `json:"op"`
			CID json.RawMessage `json:"cid,omitempty"`
		}{c.Op, c.CID}
		var err error
		if frame, err = json.Marshal(bare); err != nil {
			return nil, err
		}
	}
	request, err := json.Marshal(relayedCommand{from.session, from.attachmentID, from.from.grant.Holder(), from.renewal, frame})
	if err != nil {
		return nil, err
	}
	answer, err := g.broker.Ask(ctx, node, request)
	if err != nil {
		return nil, err
	}
	return &protocol.Reply{Raw: answer}, nil
}

// relayed answers another node's request.
func (g *Gateway) relayed(ctx context.Context, request []byte) (answer []byte) {
	defer g.survive("another node's command", func(err error) { answer = (&protocol.Reply{Err: protocol.ErrorFrom(err)}).Wire().JSON() })
	var c relayedCommand
	reply := &protocol.Reply{Err: errGone()}
	if err := json.Unmarshal(request, &c); err != nil {
		reply.Err = protocol.ErrorFrom(err)
	} else if a := g.attached(c.Session, c.Attachment, &c.Holder); a != nil {
		from := caller{from: client{grant: a.grant.Load()}, relayed: true, session: c.Session, attachmentID: c.Attachment, attachment: a, renewal: c.Renewal}
		reply = g.execute(ctx, from, c.Frame)
	}
	return reply.Wire().JSON()
}

func errGone() *protocol.Error {
	return protocol.Errorf(protocol.Gone, "the attachment has ended: attach anew")
}

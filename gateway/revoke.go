package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead/fairlead/broker"
	"github.com/fairlead/fairlead/gateway/auth"
	"github.com/fairlead/fairlead/protocol"
)

// access is what the nodes of a log know together of who may come in: what was
// revoked, and tickets.
type access struct {
	revoked auth.Revoked

	mu          sync.Mutex    // guards the following
	tickets     *auth.Tickets // nil, as the next, while the gateway is open, and has always been
	revocations *broker.Records
	swap        chan struct{} // closed, and made anew, when grants that are in use have to be looked at again
}

func newAccess() *access { return &access{swap: make(chan struct{})} }

// Where the nodes keep it. A bound that is reached refuses more, and forgets nothing.
const (
	revocationRecords = "revoked"
	revocationBytes   = 64 << 20
	ticketRecords     = "tickets"
	ticketBytes       = 32 << 20
)

// accessTimeout bounds how long the log may take to tell what was revoked.
const accessTimeout = 30 * time.Second

// openAccess makes sure that what was revoked is known before anybody is let in.
// An open gateway lets everybody in.
func (g *Gateway) openAccess(verifier *auth.Verifier) error {
	if tickets, _ := g.access.records(); verifier == nil || tickets != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), accessTimeout)
	defer cancel()
	tickets, err := g.broker.Records(ctx, ticketRecords, broker.RecordsOptions{TTL: 2 * auth.TicketLifetime, Memory: true, MaxBytes: ticketBytes})
	if err != nil {
		return err
	}
	revocations, err := g.broker.Records(ctx, revocationRecords, broker.RecordsOptions{MaxBytes: revocationBytes})
	if err != nil {
		return err
	}
	if err := revocations.Watch(ctx, g.heardOf); err != nil {
		return err
	}
	g.access.mu.Lock()
	defer g.access.mu.Unlock()
	g.access.tickets, g.access.revocations = &auth.Tickets{Store: tickets}, revocations
	return nil
}

// records is what the nodes share; nil while the gateway is open, and has always been.
func (a *access) records() (*auth.Tickets, *broker.Records) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tickets, a.revocations
}

// heardOf takes a revocation that some node has stored.
func (g *Gateway) heardOf(_ string, record []byte) {
	var r auth.Revocation
	err := json.Unmarshal(record, &r)
	if err == nil {
		err = g.access.revoked.Add(r)
	}
	if err != nil {
		g.log.Error("a revocation cannot be put in force", "error", err)
		return
	}
	g.enforce(r)
}

// enforce ends what a revocation takes back.
func (g *Gateway) enforce(r auth.Revocation) {
	for _, a := range g.all() {
		if r.Takes(a.grant.Load(), a.session) {
			a.regrant()
		}
	}
	g.access.change()
}

// regrant looks at every grant that is in use again.
func (g *Gateway) regrant() {
	for _, a := range g.all() {
		a.regrant()
	}
	g.access.change()
}

// changed is closed at the next change to what is granted.
func (a *access) changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.swap
}

// change makes who waits with a grant look at it again.
func (a *access) change() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.swap)
	a.swap = make(chan struct{})
}

// handleRevoke is POST /v1/revoke (PROTOCOL.md 4.7).
func (g *Gateway) handleRevoke(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	if err := mayManage(from.grant, ">"); err != nil { // before its body is read
		return err
	}
	body, err := g.readBody(w, r, from, g.frameLimit())
	if err != nil {
		return err
	}
	if from, err = g.still(from); err != nil {
		return err
	}
	if err := mayManage(from.grant, ">"); err != nil {
		return err
	}
	asked, err := protocol.ParseRevoke(body)
	if err != nil {
		return err
	}
	verifier := g.policy.Load().auth
	if verifier == nil {
		return protocol.Errorf(protocol.BadRequest, "this gateway has no keys, and so there is nothing to revoke: configure auth")
	}
	revocation := auth.Revocation{Subject: asked.Subject, TokenID: asked.TokenID, Session: asked.Session, All: asked.All, At: time.Now()}
	if asked.Before != 0 {
		revocation.At = time.UnixMilli(asked.Before)
	}
	if revocation.At.After(time.Now().Add(time.Minute)) {
		return protocol.Errorf(protocol.BadRequest, "before is in the future: what is not issued yet cannot be revoked")
	}
	if longest := verifier.Longest(); longest > 0 {
		revocation.Until = revocation.At.Add(longest)
		if asked.TokenID != "" && asked.Before < time.Now().UnixMilli() { // whenever it was issued
			revocation.Until = time.Now().Add(longest)
		}
	}
	if !revocation.Until.IsZero() && !revocation.Until.After(time.Now()) || asked.Before != 0 && asked.Before < firstBefore {
		return protocol.Errorf(protocol.BadRequest, "nothing that was issued before %s is accepted any more: before is in milliseconds since 1970, and may be left out for now", revocation.At.UTC().Format(time.RFC3339))
	}
	if err := g.revoke(r.Context(), revocation); err != nil {
		return err
	}
	g.log.Info("grants are revoked", "of", kindOf(asked), "before", revocation.At, "by", from.grant.APIKey)
	return g.marshalJSON(w, http.StatusOK, struct {
		Before int64 `json:"before"`
	}{revocation.At.UnixMilli()})
}

// firstBefore is in 1973. What is less was meant as seconds.
const firstBefore = 1e11

// kindOf is what a revocation is of, for the log.
func kindOf(r *protocol.Revoke) string {
	switch {
	case r.Subject != "":
		return "sub"
	case r.TokenID != "":
		return "jti"
	case r.Session != "":
		return "session"
	default:
		return "all"
	}
}

// revoke puts a revocation in force here, and stores it for the other nodes.
func (g *Gateway) revoke(ctx context.Context, r auth.Revocation) error {
	if err := g.access.revoked.Add(r); err != nil {
		return err
	}
	g.enforce(r)
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var keep time.Duration
	if !r.Until.IsZero() {
		keep = time.Until(r.Until)
	}
	_, records := g.access.records()
	return records.Put(ctx, rand.Text(), record, keep)
}

package gateway

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/fairlead/fairlead/gateway/auth"
)

// ticketPrefix begins a ticket.
const ticketPrefix = "tk_"

// anybodys is the ticket of those who show nothing. It stands for what they have
// without it, and takes no room, which anybody could ask for.
const anybodys = ticketPrefix + "anonymous"

// handleTickets is POST /v1/tickets (PROTOCOL.md 4.6).
func (g *Gateway) handleTickets(w http.ResponseWriter, r *http.Request) error {
	from, err := g.recognize(r, 1)
	if err != nil {
		return err
	}
	ticket, err := g.issueTicket(r.Context(), from)
	if err != nil {
		return err
	}
	return g.marshalJSON(w, http.StatusCreated, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int64  `json:"expires_in"` // milliseconds
	}{ticket, auth.TicketLifetime.Milliseconds()})
}

func (g *Gateway) issueTicket(ctx context.Context, from client) (string, error) {
	switch from.grant.Source {
	case auth.FromNoKeys:
		return ticketPrefix + rand.Text(), nil // nobody will ask what it stands for
	case auth.FromNobody:
		return anybodys, nil
	}
	if err := g.door.Ticket(from.counted(), from.grant.Bytes()); err != nil {
		return "", err
	}
	tickets, _ := g.access.records()
	return tickets.Issue(ctx, from.grant)
}

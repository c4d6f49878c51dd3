package main

import (
	"log/slog"
	"reflect"

	"github.com/fairlead/fairlead/gateway/auth"
)

// A guard says who may come in, and remembers what it was made from.
type guard struct {
	options  auth.Options   // without a logger
	verifier *auth.Verifier // nil: everybody may
}

// openGuard makes a guard of the settings and the files that they name. The
// error says all that is wrong with them. It is closed with verifier.Close.
func (c *config) openGuard(origin func(key string) string, log *slog.Logger) (*guard, error) {
	r := newReport(c, origin)
	g := &guard{options: c.Auth.read(r)}
	if err := r.err(); err != nil || c.open() {
		return g, err
	}
	options := g.options
	options.Logger = log
	var err error
	g.verifier, err = auth.NewVerifier(options)
	return g, err
}

// sameAs tells whether both let in the same.
func (g *guard) sameAs(other *guard) bool { return reflect.DeepEqual(g.options, other.options) }

func (g *guard) close() {
	if g.verifier != nil {
		g.verifier.Close()
	}
}

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

// openGuard makes a guard of the settings and the files that they name. What
// before, which may be nil, has fetched is not waited for again. The error says
// all that is wrong with them; what is doubtful about the files is logged, unless
// log is nil.
func (c *config) openGuard(before *auth.Verifier, origin func(key string) string, log *slog.Logger) (*guard, error) {
	r := newReport(c, origin)
	g := &guard{options: c.Auth.read(r)}
	if err := r.err(); err != nil || c.open() {
		return g, err
	}
	if log != nil {
		r.log(log)
	}
	options := g.options
	options.Logger = log
	var err error
	g.verifier, err = before.Successor(options)
	return g, err
}

// sameAs tells whether both let in the same.
func (g *guard) sameAs(other *guard) bool { return reflect.DeepEqual(g.options, other.options) }

func (g *guard) close() {
	if g.verifier != nil {
		g.verifier.Close()
	}
}

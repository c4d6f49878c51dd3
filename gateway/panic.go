package gateway

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/fairlead/fairlead/protocol"
)

// A panic is a bug. It ends the request or the connection that it is in, and
// operators are told of it: nobody else notices.

// survive is deferred by a goroutine whose panic would end the process. It ends
// the goroutine only, after then, which may be nil and gets what to tell the client.
func (g *Gateway) survive(in string, then func(error)) {
	v := recover()
	if v == nil {
		return
	}
	g.panicked(in, v)
	if then != nil {
		then(protocol.Errorf(protocol.Internal, "internal error"))
	}
}

// surviveRequests does that for requests, as net/http does, which logs it for debugging only.
func (g *Gateway) surviveRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v != http.ErrAbortHandler {
				g.panicked("a request", v)
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

// panicked counts and logs a panic. The value is somebody's text, perhaps with
// what a client sent in it: only the runtime's own is logged.
func (g *Gateway) panicked(in string, value any) {
	what := fmt.Sprintf("a %T", value)
	if err, ok := value.(runtime.Error); ok {
		what = err.Error()
	}
	g.metrics.panics.Inc()
	g.log.Error("panic: report this as a bug, with the stack", "in", in, "panic", what, "stack", string(debug.Stack()))
}

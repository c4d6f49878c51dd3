package main

import (
	"io"
	"log/slog"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// remote is the gateway that pub and sub speak to.
type remote struct {
	URL string `name:"url" variable:"FAIRLEAD_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The gateway."`
}

// client returns a client of it that tells w about retries.
func (r remote) client(w io.Writer, transports ...protocol.Transport) (*fairlead.Client, error) {
	c, err := fairlead.New(r.URL, fairlead.Options{
		Transports: transports,
		Logger:     slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

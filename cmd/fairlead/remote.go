package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// remote is the gateway that pub, sub and ping speak to.
type remote struct {
	URL string `name:"url" variable:"FAIRLEAD_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The gateway."`
	bearer
}

// client returns a client of it that tells w about retries.
func (r remote) client(w io.Writer, sources *sources, transports ...protocol.Transport) (*fairlead.Client, error) {
	token, err := r.source(sources)
	if err != nil {
		return nil, err
	}
	c, err := fairlead.New(r.URL, fairlead.Options{
		Transports: transports,
		Token:      token,
		Logger:     slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// insecureClient returns a client of it that takes any certificate, and so sends no token.
func (r remote) insecureClient() (*fairlead.Client, error) {
	c, err := fairlead.New(r.URL, fairlead.Options{HTTPClient: &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it was asked for
		DisableKeepAlives: true,
	}}})
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

// bearer is where a command's token comes from. There is no flag for the token
// itself, because everybody on the machine sees the arguments of its processes.
type bearer struct {
	TokenFile string `name:"token-file" variable:"FAIRLEAD_TOKEN_FILE" placeholder:"FILE" help:"The file with the token, or API key, to use; it is read again whenever another is needed. Without it $$FAIRLEAD_TOKEN is used, if it is set."`
}

// source gives the tokens; nil if there are none.
func (b bearer) source(sources *sources) (func(context.Context) (string, error), error) {
	if b.TokenFile != "" {
		if _, err := b.read(); err != nil {
			return nil, usageError{err}
		}
		return func(context.Context) (string, error) { return b.read() }, nil
	}
	if token := strings.TrimSpace(sources.env["FAIRLEAD_TOKEN"]); token != "" {
		return fairlead.StaticToken(token), nil
	}
	return nil, nil
}

// read is the token in the file.
func (b bearer) read() (string, error) {
	text, err := os.ReadFile(b.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("--token-file: %s is empty: put a token there, such as fairlead token makes", b.TokenFile)
	}
	return token, nil
}

// token is the first of the source's; empty: there is none.
func (b bearer) token(ctx context.Context, sources *sources) (string, error) {
	ask, err := b.source(sources)
	if err != nil || ask == nil {
		return "", err
	}
	return ask(ctx)
}

// explain adds to an error about tokens what to do about it here.
func (b bearer) explain(err error, sources *sources) error {
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok || e.Code != protocol.Unauthorized && e.Code != protocol.Expired {
		return err
	}
	if b.TokenFile == "" && sources.env["FAIRLEAD_TOKEN"] == "" {
		return fmt.Errorf("%w; give --token-file or $FAIRLEAD_TOKEN: fairlead token makes a token with the gateway's key", err)
	}
	return fmt.Errorf("%w; put another token into %s", err, cmp.Or(b.TokenFile, "$FAIRLEAD_TOKEN"))
}

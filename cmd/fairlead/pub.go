package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

type pubCmd struct {
	Channel string        `arg:"" help:"The channel, such as chat.42."`
	Data    *string       `arg:"" optional:"" help:"The payload: JSON if it is valid JSON, text otherwise. - or nothing reads it from stdin, to the end."`
	Type    string        `help:"The message's type." placeholder:"TYPE"`
	Key     string        `help:"The idempotency key; with --lines, the keys are KEY/0, KEY/1 and so on. Without it each message gets one of its own." placeholder:"KEY"`
	Lines   bool          `help:"Publish each line of stdin as it arrives, all of them as one stream."`
	Timeout time.Duration `default:"30s" help:"Give up after this; not with --lines." placeholder:"DURATION"`
	remote
}

// Run publishes, and prints the id under which the message is stored.
func (cmd *pubCmd) Run(ctx context.Context, std stdio, sources *sources) error {
	if err := cmd.check(std.in); err != nil {
		return err
	}
	client, err := cmd.client(std.err, sources)
	if err != nil {
		return err
	}
	defer client.Close()
	if cmd.Lines {
		err = cmd.publishLines(ctx, client, std)
	} else {
		err = cmd.publish(ctx, client, std)
	}
	return cmd.explain(err, sources)
}

// publish publishes one message.
func (cmd *pubCmd) publish(ctx context.Context, client *fairlead.Client, std stdio) (err error) {
	var payload []byte
	if cmd.Data == nil || *cmd.Data == "-" {
		if payload, err = io.ReadAll(std.in); err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
	} else {
		payload = []byte(*cmd.Data)
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.Timeout)
	defer cancel()
	receipt, err := client.Publish(ctx, cmd.Channel, cmd.publication(payload, cmd.Key))
	if err != nil {
		return err
	}
	if receipt.Duplicate {
		fmt.Fprintln(std.err, "the key had been stored before: this is the first message's id")
	}
	_, err = fmt.Fprintln(std.out, receipt.ID)
	return err
}

// check refuses what can be refused before anything is read or sent.
func (cmd *pubCmd) check(stdin io.Reader) error {
	err := protocol.CheckChannel(cmd.Channel)
	if err == nil {
		err = protocol.CheckType(cmd.Type)
	}
	if err == nil {
		err = protocol.CheckKey(cmd.Key)
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return usagef("%s", e.Message)
	}
	fromStdin := cmd.Data == nil || *cmd.Data == "-"
	switch {
	case cmd.Lines && !fromStdin:
		return usagef("--lines reads stdin: leave DATA out")
	case cmd.Data == nil && isTerminal(stdin):
		return usagef("there is nothing to publish: give DATA, or - to type it")
	}
	return nil
}

// publication is the payload as it is best sent: as JSON, as text, or as bytes.
func (cmd *pubCmd) publication(payload []byte, key string) fairlead.Publication {
	var p fairlead.Publication
	switch {
	case json.Valid(payload):
		p.Data = payload
	case utf8.Valid(payload):
		p = fairlead.Text(string(payload))
	default:
		p = fairlead.Bytes(payload)
	}
	p.Type, p.Key = cmd.Type, key
	return p
}

// publishLines publishes stdin line by line until it ends or ctx is done, and
// then prints the last id.
func (cmd *pubCmd) publishLines(ctx context.Context, client *fairlead.Client, std stdio) error {
	stream, err := client.PublishStream(cmd.Channel)
	if err != nil {
		return err
	}
	lines := make(chan []byte)
	var failed error // of reading; set before lines is closed
	go func() {      // a read of stdin cannot be cut short: this may end with the process
		defer close(lines)
		failed = readLines(ctx, std.in, lines)
	}()
	err = cmd.sendLines(ctx, stream, lines)
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmd.Timeout)
	defer cancel()
	stored, closeErr := stream.Close(finish)
	if err == nil {
		err = closeErr
	}
	if err == nil && ctx.Err() == nil {
		err = failed
	}
	fmt.Fprintf(std.err, "stored %d\n", stored.Count)
	if stored.Count > 0 {
		_, printErr := fmt.Fprintln(std.out, stored.ID)
		err = errors.Join(err, printErr)
	}
	return err
}

func (cmd *pubCmd) sendLines(ctx context.Context, stream *fairlead.Stream, lines <-chan []byte) error {
	for n := 0; ; n++ {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			key := ""
			if cmd.Key != "" {
				key = fmt.Sprintf("%s/%d", cmd.Key, n)
			}
			if err := stream.Send(ctx, cmd.publication(line, key)); err != nil {
				return err
			}
		case <-ctx.Done(): // what was read is still to be stored
			return nil
		}
	}
}

// readLines sends the lines of r, without their ends and without empty ones.
func readLines(ctx context.Context, r io.Reader, lines chan<- []byte) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		line := scanner.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		select {
		case lines <- bytes.Clone(line):
		case <-ctx.Done():
			return nil
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read stdin: %w", err)
	}
	return nil
}

// isTerminal tells whether f is a character device, such as a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

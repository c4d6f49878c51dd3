package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// program is the command line's grammar.
type program struct {
	Serve  serveCmd  `cmd:"" default:"withargs" help:"Serve clients and keep the log. This is what happens without a command."`
	Pub    pubCmd    `cmd:"" help:"Publish to a channel."`
	Sub    subCmd    `cmd:"" help:"Print the messages of channels as they come."`
	Ping   pingCmd   `cmd:"" help:"Ask whether a gateway answers, and print where its log stands. It answers everybody, with any token or none."`
	Doctor doctorCmd `cmd:"" help:"Find out which transports get through to a gateway, and what to change on the way."`

	CheckConfig checkConfigCmd `cmd:"" help:"Find what is wrong or doubtful about the settings of serve. Status 2: something is wrong."`
	Token       tokenCmd       `cmd:"" help:"Make a token with the gateway's key, for development."`
	APIKey      apiKeyCmd      `cmd:"" name:"api-key" help:"Make an API key for an origin: the key to stdout, once, and what the gateway is to know of it to stderr."`

	Version versionCmd `cmd:"" help:"Print the version."`
}

const description = `Fairlead is a realtime gateway: every client gets the best transport that its network lets through, and each is a cursor over one durable, ordered log.

The settings of serve come from flags, then from FAIRLEAD_… variables, then from the YAML file of --config. On SIGHUP it reads that file, and those that it names, again.`

// stdio is what a process is given to read and to write.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// A usageError is the caller's mistake.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode is the status that a process with the outcome err ends with: 0, or
// 2 for a mistake in the command line or the settings, or 1 for anything else.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

// run is the program. It returns when the command is done or ctx is, and has
// written the error that it returns, if any, to std.err. env is the
// environment in the form of os.Environ.
func run(ctx context.Context, args, env []string, std stdio) error {
	err := dispatch(ctx, args, env, std)
	if err != nil {
		// The client package is called fairlead as well.
		fmt.Fprintf(std.err, "fairlead: %s\n", strings.TrimPrefix(err.Error(), "fairlead: "))
	}
	return err
}

func dispatch(ctx context.Context, args, env []string, std stdio) error {
	sources := &sources{env: environment(env), args: args}
	command, err := parse(new(program), sources, std)
	if err != nil || command == nil {
		return err
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return command.Run(std)
}

// helpGiven is thrown by kong's exit, which is how its help ends a process.
type helpGiven struct{}

// parse makes the arguments, and what the other sources add to them, a command
// ready to run, and fills into the program. It returns nil when it has printed
// the help that was asked for.
func parse(into *program, sources *sources, std stdio) (command *kong.Context, err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			if _, ok := thrown.(helpGiven); !ok {
				panic(thrown)
			}
			command, err = nil, nil
		}
	}()
	parser, err := kong.New(into,
		kong.Name("fairlead"),
		kong.Description(description),
		kong.Writers(std.out, std.err),
		kong.Exit(func(int) { panic(helpGiven{}) }),
		kong.NamedMapper("setting", settingMapper{sources}),
		kong.ValueFormatter(helpWithSources),
		kong.Resolvers(sources),
		kong.BindFor(sources),
	)
	if err != nil {
		return nil, err
	}
	command, err = parser.Parse(sources.args)
	if err != nil {
		sources.mistaken(fmt.Errorf("%s: see %s --help", needsValue.ReplaceAllString(err.Error(), "$1: it needs a value"), commandOf(err, sources.args)))
	}
	if len(sources.mistakes) > 0 && (err != nil || command.Command() != "check-config") { // which tells of them beside all else
		return nil, usageError{errors.Join(sources.mistakes...)}
	}
	return command, nil
}

// needsValue matches what kong says of a flag that stands where another's value is to be, or nothing does.
var needsValue = regexp.MustCompile(`^(\S+): expected \w+ value but got .*$`)

// commandOf is the command that a mistake is in, for people to ask for its help.
func commandOf(err error, args []string) string {
	e, ok := errors.AsType[*kong.ParseError](err)
	first := strings.Join(args[:min(1, len(args))], "")
	switch isFlag := strings.HasPrefix(first, "-"); {
	case ok && e.Context.Selected() != nil && (isFlag || e.Context.Selected().Name == first):
		return "fairlead " + e.Context.Selected().Name
	case isFlag:
		return "fairlead serve"
	default: // serve is what kong selects for what it does not know
		return "fairlead"
	}
}

// environment is the variables of env by their names.
func environment(env []string) map[string]string {
	variables := make(map[string]string, len(env))
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			variables[name] = value
		}
	}
	return variables
}

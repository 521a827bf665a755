// Command sigillo is the whole product in one binary: the gateway, the ledger's verifier and the
// archivist's tools. One file a verb; build.go turns the configuration into parts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, the same for every verb.
const (
	exitGood         = 0
	exitNegative     = 1 // a negative verdict: broken, refused, not found
	exitUsage        = 2 // usage or configuration
	exitUndetermined = 3 // could not check
)

// exitError carries the exit code that an error asks for.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func negative(format string, a ...any) error {
	return &exitError{exitNegative, fmt.Errorf(format, a...)}
}

func undetermined(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUndetermined, err}
}

// errSaid ends a verb that has already said what is to be said.
var errSaid = errors.New("")

// commands is the command line. The groups are the people who use it.
type commands struct {
	Run     runCommand     `cmd:"" group:"engineer" help:"Run the gateway."`
	Demo    demoCommand    `cmd:"" group:"engineer" help:"Show the whole product at work on this machine, with embedded parts."`
	Ledger  ledgerCommand  `cmd:"" group:"engineer" help:"Bring a damaged or rolled-back ledger up again."`
	Config  configCommand  `cmd:"" group:"engineer" help:"Print an example configuration, or check one."`
	Version versionCommand `cmd:"" group:"engineer" help:"Print version and build."`
	Backup  backupCommand  `cmd:"" group:"engineer" help:"Back the ledger up, or check a backup."`
	Restore restoreCommand `cmd:"" group:"engineer" help:"Restore a backup into an empty directory, and check what came out."`
	Bench   benchCommand   `cmd:"" group:"engineer" help:"Measure the ledger on this machine, and fill large ones."`

	Verify  verifyCommand  `cmd:"" group:"officer" help:"Verify the ledger: nothing changed, nothing missing."`
	Search  searchCommand  `cmd:"" group:"officer" help:"Find exchanges by id, operation, participant, outcome, business key or time."`
	Show    showCommand    `cmd:"" group:"officer" help:"Show an exchange, or the exact bytes of one of its bodies."`
	Receipt receiptCommand `cmd:"" group:"officer" help:"Get or verify a receipt."`
	Proof   proofCommand   `cmd:"" group:"officer" help:"Prove one entry, or that the log only grew, to somebody without the ledger."`

	Export  exportCommand  `cmd:"" group:"archivist" help:"Export conservation packages."`
	Archive archiveCommand `cmd:"" group:"archivist" help:"Verify a conservation package; dispose of a class-month."`
	Erase   eraseCommand   `cmd:"" group:"archivist" help:"Erase the content of an exchange, in the ledger and in every backup of it."`
	Index   indexCommand   `cmd:"" group:"engineer" help:"Rebuild the index of a stopped ledger."`
}

// console is where a verb talks to its user.
type console struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], console{os.Stdin, os.Stdout, os.Stderr}))
}

// execute runs one command line and gives its exit code: the only place where errors become codes.
func execute(ctx context.Context, args []string, c console) int {
	var cmds commands
	exited := -1
	parser, err := kong.New(&cmds,
		kong.Name("sigillo"),
		kong.Description("Security and conservation gateway for pagoPA.\n\nExit status: 0 good, 1 negative verdict, 2 usage or configuration, 3 could not check."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "engineer", Title: "For the engineer"},
			{Key: "officer", Title: "For the compliance officer"},
			{Key: "archivist", Title: "For the archivist"},
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c),
	)
	if err != nil {
		fmt.Fprintln(c.err, "sigillo:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		fmt.Fprintf(c.err, "sigillo: %v\nTry 'sigillo --help'.\n", err)
		return exitUsage
	}
	return codeOf(parsed.Run(), c)
}

// codeOf says an error, if there is one, and gives its code.
func codeOf(err error, c console) int {
	if err == nil {
		return exitGood
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(c.err, "sigillo:", text)
	}
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitUsage
}

// Command idpsync is the identity-provider sync worker and its operator's tool: one verb, one file.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to drain. From then on the signals have their usual effect again: the second one ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// An app is what every verb may use of the outside world.
type app struct {
	environ map[string]string
	stdin   io.Reader
	stdout  io.Writer // what was asked for
	stderr  io.Writer // logs, questions, progress
	now     func() time.Time
	random  io.Reader
}

// verbs lists every command; help shows them in this order.
func verbs() []func(*app) *cobra.Command {
	return []func(*app) *cobra.Command{
		newDevCommand,
		newRunCommand,
		newMigrateCommand,
		newApplyCommand,
		newGetCommand,
		newIdentitiesCommand,
		newUserCommand,
		newCredentialCommand,
		newKeysCommand,
		newSealCommand,
		newSendCommand,
		newTailCommand,
		newDLQCommand,
		newExplainCommand,
		newProveCommand,
		newRecoverCommand,
		newSAMLMetadataCommand,
		newBenchCommand,
		newPolicyCommand,
		newVersionCommand,
		newCompletionCommand,
		newExitCodesTopic,
	}
}

// run starts the whole program and returns its exit code. Tests start it with streams and environment of their own.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		environ: make(map[string]string, len(environ)),
		stdin:   stdin, stdout: stdout, stderr: stderr,
		now: time.Now, random: rand.Reader,
	}
	for _, pair := range environ {
		if k, v, ok := strings.Cut(pair, "="); ok {
			a.environ[k] = v
		}
	}
	return a.execute(ctx, args)
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return kit.ExitOK
	}
	if silent := (silentError{}); !errors.As(err, &silent) {
		hint := hintOf(err, cmd)
		fmt.Fprintf(a.stderr, "idpsync: %s\n", strings.TrimSuffix(strings.TrimSpace(err.Error()), "; "+hint))
		if hint != "" {
			fmt.Fprintf(a.stderr, "hint: %s\n", hint)
		}
	}
	return exitCode(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "idpsync",
		Short: "Turns events of identity providers, HR feeds and administrators into users",
		Long: `idpsync consumes login events of OIDC and SAML sources, HR feeds and admin commands from NATS JetStream, proves
each one, and creates the user it stands for, once.

With nothing configured it brings its own broker and database and keeps both under --data-dir. Start with:

  idpsync dev     a demo that explains itself
  idpsync run     the worker`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return kit.Fail(kit.ExitUsage, "see idpsync help "+strings.TrimPrefix(cmd.CommandPath(), "idpsync "), "%w", err)
	})
	for _, verb := range verbs() {
		root.AddCommand(verb(a))
	}
	root.InitDefaultHelpCmd()
	return root
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := "idpsync help lists the commands"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return kit.Fail(kit.ExitUsage, hint, "unknown command %q", name)
}

// group makes a command that only holds others, as credential does.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

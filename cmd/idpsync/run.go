package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/cmd/idpsync/serve"
	"github.com/idpsync/idpsync/worker/assemble"
)

func newRunCommand(a *app) *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the worker",
		Long: `Run the worker until SIGTERM or SIGINT. It then stops pulling, finishes and acknowledges what it has, and leaves;
a second signal ends it at once, and the broker delivers the rest again.

With no --nats-url it brings its own broker, with no --database-url its own database; both lie under --data-dir.
With both it is one of as many workers as you like on one broker and one PostgreSQL.

It may be started before them: it waits for broker and database, and for idpsync migrate to have made streams and schema,
as long as --wait says. Meanwhile /readyz names what it waits for.

It takes no events while broker and database do not fit together, as when one of them was restored from an older copy: it
stays up, /readyz names gap, and idpsync recover says what to do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			a.tuneMemory()
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			return errors.Join(a.serve(cmd.Context(), c, a.logger(c)), stop())
		},
	}
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write a CPU profile to this file when the worker stops")
	a.addSettings(cmd, areaStore, areaBroker, areaTrust, areaRun)
	return cmd
}

// Batches of events are short-lived garbage beside a small live heap, so that collecting as often as Go does by default
// costs a fifth of the processor. Memory stays bounded by the soft limit, near which collection becomes eager again.
const (
	gcPercent   = 400
	memoryLimit = 192 << 20
)

// tuneMemory sets the collector, unless GOGC or GOMEMLIMIT say otherwise.
func (a *app) tuneMemory() {
	if a.environ["GOGC"] == "" && a.environ["GOMEMLIMIT"] == "" {
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(memoryLimit)
	}
}

// serve runs a worker with its front doors until ctx ends and everything has drained.
func (a *app) serve(ctx context.Context, c config, log *slog.Logger) error {
	o, err := a.running(c, log, false)
	if err != nil {
		return err
	}
	front := a.front(c, log)
	o.Worker.Metrics = front.Metrics
	s, err := serve.Open(ctx, front)
	if err != nil {
		return err
	}
	d, err := assemble.NewWithin(ctx, o, c.Wait, func(lacks assemble.Failure, cause error) {
		s.Waits(lacks)
		log.Warn("the start waits", "for", lacks.Name, "what", lacks.What, "hint", lacks.Hint, "at_most", c.Wait.String(), "error", cause)
	})
	if err != nil {
		return errors.Join(withRemedy(err), s.Close())
	}
	defer d.Close()
	if d.Server != nil {
		log.Info("embedded broker listens", "url", d.Server.URL(), "plain_client", d.Server.PlainClientHint())
	}
	return s.Run(ctx, d)
}

// startProfile starts a CPU profile; the function that it returns ends it. An empty name starts none.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, kit.Fail(kit.ExitUsage, "choose another file with --cpu-profile", "%w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/demo"
	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/stream"
)

func newDevCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a demo that explains itself",
		Long: `Run a worker with a demo tenant, an OpenID provider and a SAML identity provider, both in this process, that sign real
tokens and responses. Sample events of every kind and outcome come in through every door; each is shown with what became
of it and why. Then it stays up, prints the lines to try by hand, and shows every further event.

The demo begins anew each time, in the folder dev below --data-dir, and takes free ports where the usual ones are taken.
With --once it handles the samples, prints a summary and exits 0 only if every sample came out as announced.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("log-level") && a.environ["IDPSYNC_LOG_LEVEL"] == "" {
				c.LogLevel = "error" // the view tells the rest
			}
			return a.dev(cmd.Context(), c, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "handle the samples, print a summary, and exit")
	a.addSettings(cmd, areaStore, areaBroker, areaTrust, areaRun)
	return cmd
}

// dev runs the demo with a broker and a database of its own.
func (a *app) dev(ctx context.Context, c config, once bool) error {
	if !c.embedded() || c.DatabaseURL != "" {
		return kit.Fail(kit.ExitUsage, "use idpsync run with these", "dev brings its own broker and database")
	}
	return withRemedy(demo.Run(ctx, a.demo(c, once)))
}

// demo says how the demo is run.
func (a *app) demo(c config, once bool) demo.Options {
	log := a.logger(c)
	front := a.front(c, log)
	return demo.Options{
		DataDir: c.DataDir, NATSListen: c.NATSListen, Front: front, Checks: a.checks,
		Worker: func(folder, natsListen string) (assemble.Options, error) {
			c.DataDir, c.NATSListen = folder, natsListen
			o, err := a.running(c, log, true)
			o.Worker.Metrics = front.Metrics
			return o, err
		},
		Follow: func(ctx context.Context, conn *stream.Conn) error {
			return a.tail(ctx, conn, stream.Tail, stream.Filter{}, false)
		},
		Once: once, Colours: a.colours(a.stdout), Out: a.stdout, Now: a.now, Rand: a.random, Log: log,
	}
}

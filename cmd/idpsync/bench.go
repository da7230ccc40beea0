package main

import (
	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/bench"
	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func newBenchCommand(a *app) *cobra.Command {
	var o bench.Options
	var profile string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a worker drains waiting logins",
		Long: `Measure how fast one worker process drains logins that wait in the broker. Each is a token of its own, signed with
RS256 by an issuer in this process. The worker is this program's run, as a process of its own, with the same settings.

It writes into the database and the broker that are named, a tenant of its own in each round, so name some that can be
thrown away. Compare figures of one sitting only.

With --latency it publishes 40 logins a second and measures the time to their results, first alone, then while the issuer
of another source accepts connections and answers nothing, with 20 logins a second for that one and 8 anonymous clients of
the HTTP API whose tokens name it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			if c.embedded() || c.DatabaseURL == "" {
				return kit.Fail(kit.ExitUsage, "name both with --nats-url and --database-url", "bench needs a broker and a database that can be thrown away")
			}
			conn, err := a.connect(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer conn.Close()
			o.Conn, o.DatabaseURL, o.Out, o.Err, o.Now, o.Rand = conn, c.DatabaseURL, a.stdout, a.stderr, a.now, a.random
			o.Worker = []string{"run", "--admin-listen", off, "--nats-url", c.NATSURL, "--database-url", c.DatabaseURL, "--data-dir", c.DataDir}
			if profile != "" {
				o.Worker = append(o.Worker, "--cpu-profile", profile)
			}
			return bench.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Events, "events", 20000, "logins in a round")
	cmd.Flags().BoolVar(&o.Repeat, "repeat", false, "log everybody in a second time too, which changes nothing")
	cmd.Flags().BoolVar(&o.Latency, "latency", false, "measure instead how long logins take, quiet and while another source's issuer hangs")
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write the worker's CPU profile to this file")
	a.addSettings(cmd, areaStore, areaBroker, areaTrust, areaRun)
	return cmd
}

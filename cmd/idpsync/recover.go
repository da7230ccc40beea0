package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/gap"
)

type recoverVerb struct {
	app       *app
	accept    bool
	since     string
	except    []string
	plan      bool
	why       string
	yes, json bool
}

func newRecoverCommand(a *app) *cobra.Command {
	v := recoverVerb{app: a}
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Say whether broker and database fit together, and go on after one of them was restored",
		Long: `Say whether broker and database still fit together. They do not when one of them lost its disk, or was restored from a
copy that is older than the other. Workers find it out when they start; they stay up, take no events, and /readyz says why.

With --since it gives a database that was restored from a backup the effects that it lacks, from the archive
(idpsync migrate --archive): events with the ids and times that they had, users with the ids that they had, under today's
directory and policies. First a forecast says what would become of each; with --plan that is all. Workers that wait go on
by themselves when nothing is missing any more. Users that the database knows to be forgotten, or that --except
names, are not restored, nor is anything from before the ledger's retention. It may be stopped and started again: what is there stays as it is.
What had only been refused or parked since the backup is not in the archive.

With --accept-gap workers go on as things are, within seconds and without a restart: what is lost is lost. It accepts what
is found now, and nothing that happens later. Who did it, why, and what was found is recorded in the audit. idpsync prove
asks nothing of what lies before.

The exit code is 0 when they fit together, and 3 when they do not and nothing was changed; with --since it is 1 when some
event could not be given its effect again.`,
		Example: `  idpsync recover
  idpsync recover --since 2026-11-02T09:00:00Z --why 'backup of last night, ticket 4711'
  idpsync recover --accept-gap --why 'disk of nats-1 replaced, ticket 4711'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&v.accept, "accept-gap", false, "let workers go on although broker and database do not fit together")
	f.StringVar(&v.since, "since", "", "give the database the effects since: 24h, 7d, or 2026-01-31T12:00:00Z")
	f.StringSliceVar(&v.except, "except", nil, "leave out events of these users, by their ids: those who were forgotten since the backup")
	f.BoolVar(&v.plan, "plan", false, "with --since: only forecast what would become of each event")
	f.StringVar(&v.why, "why", "", "reason, for the audit; required with --accept-gap, and with --since unless --plan")
	yesFlag(cmd, &v.yes)
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore, areaBroker)
	return cmd
}

// recovered is what recover prints with --json.
type recovered struct {
	Findings []gap.Finding `json:"findings"`
	Accepted bool          `json:"accepted"`
}

func (v *recoverVerb) run(cmd *cobra.Command) (err error) {
	ctx, a := cmd.Context(), v.app
	c, err := a.config(cmd)
	if err != nil {
		return err
	}
	if v.accept && v.since != "" {
		return kit.Fail(kit.ExitUsage, "recover first, and accept what is still missing then", "--since and --accept-gap are two things")
	}
	if (v.accept || v.since != "" && !v.plan) && v.why == "" {
		return kit.Fail(kit.ExitUsage, "add --why 'the reason'", "what is recovered or accepted needs a reason")
	}
	if c.noDatabase() {
		return kit.Fail(kit.ExitUsage, "name the folder with --data-dir, or a database with --database-url", "there is no database in %s", c.DataDir)
	}
	if v.since != "" {
		return v.replay(ctx, c)
	}
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return err
	}
	defer closeStore(st, &err)
	conn, err := a.connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, err := gap.Find(ctx, st, gap.Streams(conn))
	if err == nil && g.Unread != nil {
		err = g.Unread
	}
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check that broker and database are reachable and migrated, and that this user may read them, then run it again", "broker and database cannot be compared: %w", err)
	}
	return v.settle(ctx, st, g)
}

// settle shows a gap and, if it is to be accepted, accepts it.
func (v *recoverVerb) settle(ctx context.Context, st *store.Store, g gap.Gap) error {
	a, r := v.app, recovered{Findings: append([]gap.Finding{}, g.Findings...)}
	out := a.stdout
	if v.json {
		out = a.stderr
	}
	printGap(out, g)
	if v.accept { // also when nothing is found: a worker may have seen the database go back
		if err := a.confirm(v.yes, "Accept that they are as they are, and let workers go on?"); err != nil {
			return err
		}
		if err := acceptGap(ctx, st, g, v.why, a.now()); err != nil {
			return kit.Fail(kit.ExitFailure, "nothing was written; try again", "the gap cannot be accepted: %w", err)
		}
		r.Accepted = true
		fmt.Fprintln(out, "accepted; workers that wait go on within seconds")
	}
	if v.json {
		if err := printJSON(a.stdout, r); err != nil {
			return err
		}
	}
	if g.Found() && !r.Accepted {
		return silentError{kit.ExitPending}
	}
	return nil
}

// acceptGap makes the streams as they were found those that the database knows.
func acceptGap(ctx context.Context, st *store.Store, g gap.Gap, why string, now time.Time) error {
	detail, err := json.Marshal(map[string]any{"why": why, "findings": g.Findings})
	if err != nil {
		return err
	}
	return st.AcceptMarks(ctx, g.Marks, store.AuditEntry{At: now, Who: operator(), Action: "gap.accept", Object: g.Sides(), Detail: detail})
}

func printGap(w io.Writer, g gap.Gap) {
	if !g.Found() {
		fmt.Fprintln(w, "broker and database fit together")
		return
	}
	fmt.Fprintf(w, "broker and database do not fit together: the %s has lost what the other knows\n", g.Sides())
	for _, f := range g.Findings {
		fmt.Fprintf(w, "  %s: %s\n      may be lost: %s\n", f.Stream, f.What, f.Lost)
		if !f.Since.IsZero() {
			fmt.Fprintf(w, "      last seen together: %s\n", f.Since.UTC().Format(time.RFC3339))
		}
	}
}

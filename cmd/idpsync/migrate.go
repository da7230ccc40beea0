package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/gap"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

type migrateVerb struct {
	app    *app
	dryRun bool
	json   bool
	only   string

	replicas                               int
	perSubject                             int64
	events, results, deadLetters, maxEvent string
	resultsAge, deadLettersAge             string
	archiveAge, archive                    string
	ledgerAge, auditAge                    string
	topology                               stream.Topology
}

func newMigrateCommand(a *app) *cobra.Command {
	v := migrateVerb{app: a}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or update the schema of the database, the streams and the consumers",
		Long: `Create or update the schema of the database, and the streams and consumers of the broker.

It may run anywhere, any number of times, and several at once. Run it before the first worker, and before workers of a new
version. The embedded database and broker need it only to change limits: idpsync run sets them up.

After an upgrade it also brings the rows of earlier versions up to date, and lists what it can't tell, such as identities
of a source that is not declared any more. Keep that list, since most of it appears once; deploy/RUNBOOK.md says what to
do about each line.

A limit that is not given stays as it is.

It looks at the streams of leaf nodes that the stream of events sources. One of a trusted domain that does not exist, is itself
filled from another stream, or loses its messages before they are judged is refused.`,
		Example: `  idpsync migrate --database-url-file db.url --nats-url nats://broker:4222 --nats-creds admin.creds
  idpsync migrate --dry-run                     show what would change; exit code 3 when something would
  idpsync migrate --only streams --events-bytes 20GiB --replicas 3
  idpsync migrate --archive 30d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&v.dryRun, "dry-run", false, "show what would change and change nothing")
	f.StringVar(&v.only, "only", "", "only one of schema and streams")
	f.IntVar(&v.replicas, "replicas", 0, "replicas of every stream (default 1)")
	f.StringVar(&v.events, "events-bytes", "", "limit of the stream of events (default 8GiB)")
	f.Int64Var(&v.perSubject, "events-per-subject", 0, "events of one source that may wait (default 500000)")
	f.StringVar(&v.results, "results-bytes", "", "limit of the stream of results (default 4GiB)")
	f.StringVar(&v.deadLetters, "dead-letters-bytes", "", "limit of the stream of dead letters (default 4GiB)")
	f.StringVar(&v.maxEvent, "max-event-size", "", "largest event with its headers (default 7/8 of the broker's max_payload)")
	f.StringVar(&v.resultsAge, "results-age", "", "how long results are kept (default 7d)")
	f.StringVar(&v.deadLettersAge, "dead-letters-age", "", "how long dead letters are kept (default 90d)")
	f.StringVar(&v.archiveAge, "archive", "", "keep events that had an effect for so long, sealed, so that idpsync recover can give them to a restored database (default: none are kept)")
	f.StringVar(&v.archive, "archive-bytes", "", "limit of the archive, which drops the oldest (default 8GiB)")
	f.StringVar(&v.ledgerAge, "ledger-age", "", "how long the ledger is kept, from 1d and for as long as results, dead letters, the archive and any max_event_age (default 100d)")
	f.StringVar(&v.auditAge, "audit-age", "", "how long the audit is kept, from 30d (default 730d)")
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore, areaBroker, areaTrust)
	return cmd
}

// migrated is what migrate prints with --json.
type migrated struct {
	Schema *schemaReport   `json:"schema,omitempty"`
	Keeps  *retained       `json:"retention,omitempty"`
	Broker []stream.Change `json:"broker,omitempty"`
	Gap    []gap.Finding   `json:"gap,omitempty"` // what shows that the broker lost what the database knows
	// Sources is what keeps events of leaf nodes from being judged by when they were stored there.
	Sources []stream.SourceFault `json:"sources,omitempty"`
	Note    string               `json:"note,omitempty"`
}

type schemaReport struct {
	Database string              `json:"database"`
	Applied  []string            `json:"applied"`
	From     int64               `json:"from"`
	Version  int64               `json:"version"`
	Accounts []manifest.Upgraded `json:"accounts"` // what was done to rows of users, and what an operator has to decide
}

func (v *migrateVerb) run(cmd *cobra.Command) error {
	c, err := v.app.config(cmd)
	if err != nil {
		return err
	}
	if err := v.limits(); err != nil {
		return err
	}
	if v.only != "" && v.only != "schema" && v.only != "streams" {
		return kit.Fail(kit.ExitUsage, "schema or streams", "--only cannot be %q", v.only)
	}
	var r migrated
	pending := false
	if v.only != "streams" {
		if r.Schema, r.Keeps, err = v.schema(cmd.Context(), c); err != nil {
			return err
		}
		pending = v.dryRun && (r.Schema.From != r.Schema.Version || r.Keeps != nil && r.Keeps.Changed)
	} else if v.ledgerAge+v.auditAge != "" {
		return kit.Fail(kit.ExitUsage, "leave out --only streams", "--ledger-age and --audit-age are kept in the database")
	}
	if v.only != "schema" {
		changed, err := v.streams(cmd.Context(), c, &r)
		if err != nil {
			return errors.Join(err, v.print(r))
		}
		pending = pending || v.dryRun && changed
	}
	if err := v.print(r); err != nil {
		return err
	}
	if pending {
		return silentError{kit.ExitPending}
	}
	return nil
}

// limits reads the flags that are sizes and ages, all faults at once.
func (v *migrateVerb) limits() error {
	var faults []string
	bytes := func(flag, text string, to *int64) {
		if text == "" {
			return
		}
		n, ok := parseBytes(text)
		if !ok || n < 1<<20 {
			faults = append(faults, fmt.Sprintf("--%s %q is not a size from 1MiB, such as 20GiB", flag, text))
		}
		*to = n
	}
	age := func(flag, text string, to *time.Duration) {
		if text == "" {
			return
		}
		d, err := strictyaml.ParseDuration(text)
		if err != nil || d < time.Hour {
			faults = append(faults, fmt.Sprintf("--%s %q is not a time from 1h, such as 30d", flag, text))
		}
		*to = d
	}
	t := &v.topology
	t.DryRun, t.Replicas = v.dryRun, v.replicas
	bytes("events-bytes", v.events, &t.EventsBytes)
	bytes("results-bytes", v.results, &t.ResultsBytes)
	bytes("dead-letters-bytes", v.deadLetters, &t.DeadLetters)
	age("results-age", v.resultsAge, &t.ResultsAge)
	age("dead-letters-age", v.deadLettersAge, &t.DeadLettersAge)
	age("archive", v.archiveAge, &t.ArchiveAge)
	if v.archive != "" && v.archiveAge == "" {
		faults = append(faults, "--archive-bytes goes with --archive, which says how long events are kept")
	}
	bytes("archive-bytes", v.archive, &t.ArchiveBytes)
	if v.maxEvent != "" {
		n, ok := parseBytes(v.maxEvent)
		if !ok || n < 1<<10 || n > 64<<20 {
			faults = append(faults, fmt.Sprintf("--max-event-size %q is not a size from 1KiB to 64MiB", v.maxEvent))
		}
		t.MaxMsgSize = int32(min(n, 64<<20)) //nolint:gosec // bounded
	}
	if t.PerSubject = v.perSubject; t.PerSubject < 0 {
		faults = append(faults, "--events-per-subject is a number above 0")
	}
	if v.replicas < 0 || v.replicas > 5 {
		faults = append(faults, "--replicas is a number from 1 to 5")
	}
	if len(faults) > 0 {
		return kit.Fail(kit.ExitUsage, "see idpsync help migrate", "%s", strings.Join(faults, "\n"))
	}
	return nil
}

func (v *migrateVerb) schema(ctx context.Context, c config) (r *schemaReport, keeps *retained, err error) {
	o := store.Options{URL: c.DatabaseURL, Log: v.app.logger(c), MaxConns: 2}
	if o.URL == "" {
		o.Path = filepath.Join(c.DataDir, sqliteFile)
		if _, err := os.Stat(o.Path); err != nil && v.dryRun {
			return &schemaReport{Database: store.SQLite, Applied: []string{}, Accounts: []manifest.Upgraded{}, Version: 1}, nil, nil
		}
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, nil, kit.Fail(kit.ExitFailure, "choose another folder with --data-dir", "the data directory cannot be made: %w", err)
		}
	}
	st, err := store.Open(ctx, o)
	if err != nil {
		return nil, nil, kit.Fail(kit.ExitFailure, "check --database-url and that the database accepts connections", "the database cannot be opened: %w", err)
	}
	defer closeStore(st, &err)
	have, want, err := st.SchemaVersion(ctx)
	if err != nil {
		return nil, nil, kit.Fail(kit.ExitFailure, "check that the database's user may read its catalogue", "the schema's version cannot be read: %w", err)
	}
	r = &schemaReport{Database: st.Kind(), Applied: []string{}, Accounts: []manifest.Upgraded{}, From: have, Version: want}
	switch {
	case have > want:
		r.Version = have
		return r, nil, kit.Fail(kit.ExitFailure, "use the idpsync that made it, or a newer one", "the database has schema %d and this program knows only %d", have, want)
	case v.dryRun && have == want:
		keeps, err = v.retention(ctx, st)
		return r, keeps, err
	case v.dryRun:
		return r, nil, nil
	}
	done, err := st.Migrate(ctx)
	r.Applied = append(r.Applied, done.Applied...)
	if err != nil {
		return r, nil, kit.Fail(kit.ExitFailure, "nothing of the failed step was kept; remove the cause and run it again", "the schema cannot be migrated: %w", err)
	}
	r.Version = done.Version
	report, err := v.app.upgrade(ctx, st, issuerReader(ctx))
	r.Accounts = append(r.Accounts, report...)
	if err != nil {
		return r, nil, err
	}
	keeps, err = v.retention(ctx, st)
	return r, keeps, err
}

// upgrade does what a new schema needs of rows that an older version has written. The entityID of a SAML source's identity
// provider is found by entityID.
func (a *app) upgrade(ctx context.Context, st *store.Store, readIssuer func(providers.Source) (string, error)) ([]manifest.Upgraded, error) {
	report, err := manifest.Upgrade(ctx, st, manifest.UpgradeOptions{Kinds: assemble.Kinds(), ReadIssuer: readIssuer, Who: operator(), Now: a.now})
	if err != nil {
		return report, kit.Fail(kit.ExitFailure, "nothing of the failed step was kept; remove the cause and run idpsync migrate again", "%w", err)
	}
	return report, nil
}

func (v *migrateVerb) streams(ctx context.Context, c config, r *migrated) (changed bool, err error) {
	const later = "no broker is configured: the embedded one sets its streams up when idpsync run starts"
	log := v.app.logger(c)
	o, err := c.brokerOptions(log)
	if err != nil {
		if c.embedded() {
			r.Note = later
			return false, nil
		}
		return false, err
	}
	conn, err := stream.Connect(ctx, o)
	if err != nil {
		if c.embedded() && errors.Is(err, stream.ErrUnreachable) {
			r.Note = later
			return false, nil
		}
		return false, err
	}
	defer conn.Close()
	if r.Keeps != nil {
		ages, err := stream.AgesWith(ctx, conn, v.topology)
		if err != nil {
			return false, err
		}
		if err := ledgerCoversStreams(r.Keeps.ledger, ages); err != nil {
			return false, err
		}
	}
	if r.Sources, err = stream.CheckSources(ctx, conn, c.TrustedDomains.Names()); err != nil {
		return false, err
	}
	if i := slices.IndexFunc(r.Sources, func(f stream.SourceFault) bool { return f.Fatal }); i >= 0 {
		f := r.Sources[i]
		return false, kit.Fail(kit.ExitFailure, f.Hint, "the stream %s of the trusted domain %s %s; the streams were not changed", f.Stream, f.Domain, f.What)
	}
	report, err := stream.Migrate(ctx, conn, v.topology)
	r.Broker = report.Changes
	if err == nil && r.Schema != nil && !v.dryRun {
		r.Gap, err = v.gap(ctx, c, conn)
	}
	return report.Changed(), err
}

// gap finds out whether the streams are others than those that the database knows, as they are when a broker lost its disk. Those
// that were just made are empty then, and workers wait for an operator.
func (v *migrateVerb) gap(ctx context.Context, c config, conn *stream.Conn) (found []gap.Finding, err error) {
	st, err := v.app.openStore(ctx, c, v.app.logger(c))
	if err != nil {
		return nil, err
	}
	defer closeStore(st, &err)
	g, err := gap.Find(ctx, st, gap.StreamsAlone(conn))
	return g.Findings, err
}

func (v *migrateVerb) print(r migrated) error {
	if v.json {
		return printJSON(v.app.stdout, r)
	}
	out := v.app.stdout
	if s := r.Schema; s != nil {
		switch {
		case s.From == s.Version && len(s.Applied) == 0:
			fmt.Fprintf(out, "schema (%s): at version %d, nothing to do\n", s.Database, s.Version)
		case v.dryRun:
			fmt.Fprintf(out, "schema (%s): would go from version %d to %d\n", s.Database, s.From, s.Version)
		default:
			fmt.Fprintf(out, "schema (%s): now at version %d; applied %s\n", s.Database, s.Version, strings.Join(s.Applied, ", "))
		}
	}
	if s := r.Schema; s != nil {
		for _, u := range s.Accounts {
			fmt.Fprintf(out, "tenant %s: %s\n", u.Tenant, u.What)
			if u.Hint != "" {
				fmt.Fprintf(out, "    %s\n", u.Hint)
			}
		}
	}
	if k := r.Keeps; k != nil && k.Changed {
		verb := "keeps"
		if v.dryRun {
			verb = "would keep"
		}
		fmt.Fprintf(out, "database: %s the ledger for %s and the audit for %s\n", verb, k.Ledger, k.Audit)
	}
	for _, change := range r.Broker {
		action := change.Action
		if v.dryRun && action != stream.ActionUnchanged {
			action = "would be " + action
		}
		fmt.Fprintf(out, "%s %s: %s\n", change.Kind, change.Name, action)
		for _, d := range change.Details {
			fmt.Fprintf(out, "    %s: %s -> %s\n", d.Setting, d.Have, d.Want)
		}
	}
	if len(r.Gap) > 0 {
		printGap(out, gap.Gap{Findings: r.Gap})
		fmt.Fprintln(out, "workers take no events until it is accepted: idpsync recover --accept-gap")
	}
	for _, f := range r.Sources {
		fmt.Fprintf(out, "source %s\n", f)
	}
	if r.Note != "" {
		fmt.Fprintln(out, r.Note)
	}
	if v.dryRun {
		fmt.Fprintln(out, "dry run: nothing was changed")
	}
	return nil
}

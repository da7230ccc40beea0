package main

import (
	"context"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// The ledger is kept for at least as long as anything may ask for it. Who would change either side is refused here; a worker
// that finds it otherwise keeps the ledger for longer, and warns.

// ledgerCoversSources refuses a directory whose events may be processed for the first time when the ledger has forgotten their
// time.
func ledgerCoversSources(ledger time.Duration, d store.Directory) error {
	age, source, err := manifest.LongestEventAge(assemble.Kinds(), d)
	if err != nil || age <= ledger {
		return err
	}
	if source == "" {
		return kit.Fail(kit.ExitUsage, "keep it for "+days(age)+" at least: idpsync migrate --ledger-age "+days(age)+"; nothing was changed",
			"events may be %s old, as max_event_age says by default, and the ledger is kept for %s only", days(age), days(ledger))
	}
	return kit.Fail(kit.ExitUsage, "raise the one with idpsync migrate --ledger-age "+days(age)+", or lower the other; nothing was changed",
		"source %s has max_event_age %s, and the ledger is kept for %s only", source, days(age), days(ledger))
}

// ledgerCoversStreams refuses to keep results, dead letters or archived events for longer than the ledger.
func ledgerCoversStreams(ledger time.Duration, ages stream.Ages) error {
	for _, of := range []struct {
		what, flag string
		age        time.Duration
	}{{"results", "--results-age", ages.Results}, {"dead letters", "--dead-letters-age", ages.DeadLetters}, {"archived events", "--archive", ages.Archive}} {
		if of.age > ledger {
			return kit.Fail(kit.ExitUsage, "raise the one with --ledger-age "+days(of.age)+", or lower the other with "+of.flag+"; the streams were not changed",
				"%s are kept for %s, and the ledger for %s only", of.what, days(of.age), days(ledger))
		}
	}
	return nil
}

// days writes an age in days where it is some.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// retained is what migrate tells of how long rows are kept.
type retained struct {
	Ledger      string    `json:"ledger"`
	Audit       string    `json:"audit"`
	HistoryFrom time.Time `json:"history_from,omitzero"`
	Changed     bool      `json:"changed"`

	ledger time.Duration
}

// retention reads the ages that migrate is given, and changes those of the database unless they are as they are.
func (v *migrateVerb) retention(ctx context.Context, st *store.Store) (*retained, error) {
	had, err := st.Retention(ctx)
	if err != nil {
		return nil, kit.Fail(kit.ExitFailure, "check that the database is reachable", "what is kept for how long cannot be read: %w", err)
	}
	want := had
	for _, of := range []struct {
		flag, text string
		least      time.Duration
		to         *time.Duration
	}{{"--ledger-age", v.ledgerAge, store.MinLedgerAge, &want.Ledger}, {"--audit-age", v.auditAge, store.MinAuditAge, &want.Audit}} {
		if of.text == "" {
			continue
		}
		d, err := strictyaml.ParseDuration(of.text)
		if err != nil || d < of.least || d%time.Second != 0 {
			return nil, kit.Fail(kit.ExitUsage, "see idpsync help migrate", "%s %q is not a time from %s, such as 400d", of.flag, of.text, days(of.least))
		}
		*of.to = d
	}
	dir, err := st.Directory(ctx)
	if err != nil {
		return nil, kit.Fail(kit.ExitFailure, "check that the database is reachable", "the directory cannot be read: %w", err)
	}
	if v.ledgerAge != "" {
		if err := ledgerCoversSources(want.Ledger, dir); err != nil {
			return nil, err
		}
	}
	return &retained{Ledger: days(want.Ledger), Audit: days(want.Audit), HistoryFrom: had.HistoryFrom, Changed: want != had, ledger: want.Ledger}, v.setRetention(ctx, st, had, want)
}

func (v *migrateVerb) setRetention(ctx context.Context, st *store.Store, had, want store.Retention) error {
	if want == had || v.dryRun {
		return nil
	}
	if err := st.SetRetention(ctx, want, operator(), v.app.now()); err != nil {
		return kit.Fail(kit.ExitFailure, "nothing was changed; try again", "what is kept for how long cannot be written: %w", err)
	}
	return nil
}

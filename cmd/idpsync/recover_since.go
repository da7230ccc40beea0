package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// recoverChunk is how many archived events are held and decided at a time.
const recoverChunk = 200

// maxShown is how many events that could not be recovered are listed one by one.
const maxShown = 20

// A recovery is what recover --since found and did. Its JSON form is what it prints.
type recovery struct {
	Since     time.Time      `json:"since"`
	Archived  int            `json:"archived"`  // events that were looked at
	There     int            `json:"there"`     // of them: the ledger has their effect
	Forgotten int            `json:"forgotten"` // of users who were forgotten, or left out
	Old       int            `json:"old"`       // from before the ledger's retention
	Foreign   int            `json:"foreign"`   // that no worker of this deployment wrote
	Outcomes  map[string]int `json:"outcomes"`  // of those that the ledger lacks
	Failed    []failedEvent  `json:"failed"`    // of them: had no effect
	FailedAll int            `json:"failed_count"`
	Done      bool           `json:"done"` // false: a forecast
}

// lacking is how many events the ledger lacks.
func (r recovery) lacking() int {
	n := 0
	for _, count := range r.Outcomes {
		n += count
	}
	return n
}

type failedEvent struct {
	Sequence uint64 `json:"sequence"`
	Event    string `json:"event"`
	What     string `json:"what"`
}

// replay plays back what the ledger lacks.
func (v *recoverVerb) replay(ctx context.Context, c config) error {
	a := v.app
	if _, err := a.since(v.since); err != nil {
		return err
	}
	d, err := a.deployOffline(ctx, c, a.logger(c), true)
	if err != nil {
		return err
	}
	defer d.Close()
	if !stream.HasArchive(ctx, d.Conn) {
		return kit.Fail(kit.ExitPending, "what is not archived cannot be recovered; from now on: idpsync migrate --archive 30d, then restart the workers", "there is no archive")
	}
	out := a.stdout
	if v.json {
		out = a.stderr
	}
	r, err := v.pass(ctx, d, true)
	if err != nil {
		return err
	}
	r.print(func(format string, args ...any) { fmt.Fprintf(out, format, args...) })
	if !v.plan && r.lacking() > 0 {
		if err := a.confirm(v.yes, fmt.Sprintf("Recover %d events?", r.lacking())); err != nil {
			return err
		}
		if r, err = v.pass(ctx, d, false); err != nil {
			return err
		}
		if err := v.record(ctx, d, r); err != nil {
			return err
		}
		r.print(func(format string, args ...any) { fmt.Fprintf(out, format, args...) })
	}
	if v.json {
		if err := printJSON(a.stdout, r); err != nil {
			return err
		}
	}
	if r.FailedAll > 0 {
		return kit.Fail(kit.ExitFailure, "look at each, put right what keeps it, and run it again; or accept the rest with --accept-gap", "%d events have no effect again", r.FailedAll)
	}
	return nil
}

// pass goes through the archive once.
func (v *recoverVerb) pass(ctx context.Context, d *deployment, dry bool) (recovery, error) {
	a := v.app
	r := recovery{Outcomes: map[string]int{}, Failed: []failedEvent{}, Done: !dry}
	since, err := a.since(v.since)
	if err != nil {
		return r, err
	}
	r.Since = since
	left, err := v.leftOut(ctx, d.Store)
	if err != nil {
		return r, err
	}
	kept, err := d.Store.Retention(ctx)
	if err != nil {
		return r, kit.Fail(kit.ExitFailure, "check that the database is reachable", "how long the ledger is kept cannot be read: %w", err)
	}
	old := a.now().Add(-kept.Ledger)
	if kept.HistoryFrom.After(old) {
		old = kept.HistoryFrom
	}
	label := "recover"
	if dry {
		label = "forecast"
	}
	bar := a.progress(label, 0)
	defer bar.Close()
	foreign := func(record.Stored) { r.Foreign++ }
	messages := stream.Archived(ctx, d.Conn, stream.Filter{Since: since, Foreign: foreign})
	for chunk, err := range chunks(messages, recoverChunk) {
		if err != nil {
			return r, kit.Fail(kit.ExitFailure, "check the broker, and that this user may read the archive; what was recovered stays, run it again", "the archive cannot be read: %w", err)
		}
		if err := r.chunk(ctx, d, chunk, dry, func(e record.Archived) bool { return left[e.UserID] }, old); err != nil {
			return r, err
		}
		bar.Add(int64(len(chunk)))
	}
	return r, nil
}

// leftOut returns the users of whom nothing is recovered.
func (v *recoverVerb) leftOut(ctx context.Context, st *store.Store) (map[string]bool, error) {
	left := map[string]bool{}
	for _, id := range v.except {
		parsed, ok := parseUUID(id)
		if !ok {
			return nil, kit.Fail(kit.ExitUsage, "ids of users, with commas between them", "--except names %q, which is no id of a user", id)
		}
		left[parsed] = true
	}
	for f := (store.AuditFilter{Action: "user.forget", Limit: 1000}); ; {
		entries, err := st.AuditEntries(ctx, f)
		if err != nil {
			return nil, kit.Fail(kit.ExitFailure, "check that the database is reachable", "who was forgotten cannot be read: %w", err)
		}
		for _, e := range entries {
			left[strings.ToLower(e.Object)] = true
			f.Before = e.ID
		}
		if len(entries) < f.Limit {
			return left, nil
		}
	}
}

// chunk gives the database the effects of some archived events that it lacks.
func (r *recovery) chunk(ctx context.Context, d *deployment, all []record.Stored, dry bool, forgotten func(record.Archived) bool, old time.Time) error {
	var messages []record.Stored
	var events []record.Archived
	for _, m := range all {
		e, _, err := record.UnsealArchived(d.Key, m)
		r.Archived++
		switch {
		case err != nil:
			r.Foreign++
		case e.StoredAt.Before(old):
			r.Old++
		case forgotten(e):
			r.Forgotten++
		default:
			messages, events = append(messages, m), append(events, e)
		}
	}
	lacks, err := d.Worker.Lacks(ctx, events)
	if err != nil {
		return notRecovered(err)
	}
	var missing []record.Stored
	for i, m := range messages {
		if lacks[i] {
			missing = append(missing, m)
		} else {
			r.There++
		}
	}
	if len(missing) == 0 {
		return nil
	}
	forecasts, err := d.Worker.Recover(ctx, missing, dry)
	if err != nil {
		return notRecovered(err)
	}
	for i, f := range forecasts {
		r.add(missing[i], f)
	}
	return nil
}

func (r *recovery) add(m record.Stored, f worker.Forecast) {
	word := forecastWord(f)
	r.Outcomes[word]++
	if f.Waits == "" && f.Code == "" {
		return
	}
	r.FailedAll++
	if len(r.Failed) < maxShown {
		r.Failed = append(r.Failed, failedEvent{m.Sequence, record.EventName(store.EventKey{TenantID: f.Tenant, Source: f.Source, EventID: f.EventID}), word})
	}
}

func notRecovered(err error) error {
	return kit.Fail(kit.ExitFailure, "check that the database is reachable; what was recovered stays, run it again", "the effects cannot be recovered: %w", err)
}

// record says in the audit what was done.
func (v *recoverVerb) record(ctx context.Context, d *deployment, r recovery) error {
	detail, err := json.Marshal(map[string]any{"why": v.why, "since": r.Since, "outcomes": r.Outcomes, "except": v.except})
	if err != nil {
		return err
	}
	if err := d.Store.Audit(ctx, store.AuditEntry{At: v.app.now(), Who: operator(), Action: "event.recover", Object: "archive", Detail: detail}); err != nil {
		return kit.Fail(kit.ExitFailure, "run it again; what was recovered stays", "the effects are recovered, but not noted in the audit: %w", err)
	}
	return nil
}

func (r recovery) print(printf func(format string, args ...any)) {
	printf("archived since %s: %d events; the ledger has the effect of %d\n", r.Since.UTC().Format(time.RFC3339), r.Archived, r.There)
	for _, of := range []struct {
		n    int
		what string
	}{{r.Forgotten, "left out, of users who were forgotten or are excepted"}, {r.Old, "left out, as they are older than the ledger is kept"}, {r.Foreign, "passed over, as no worker of this deployment wrote them"}} {
		if of.n > 0 {
			printf("%8d  %s\n", of.n, of.what)
		}
	}
	title := "forecast for those that it lacks"
	if r.Done {
		title = "recovered"
	}
	printf("%s: %d\n", title, r.lacking())
	words := make([]string, 0, len(r.Outcomes))
	for word := range r.Outcomes {
		words = append(words, word)
	}
	slices.Sort(words)
	for _, word := range words {
		printf("%8d  %s\n", r.Outcomes[word], kit.Printable(word))
	}
	for _, f := range r.Failed {
		printf("  %s  %s\n", kit.Printable(f.Event), kit.Printable(f.What))
	}
}

// chunks groups what a sequence has. An error ends it and comes last, without a group.
func chunks[T any](all iter.Seq2[T, error], n int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var chunk []T
		for one, err := range all {
			if err != nil {
				yield(nil, err)
				return
			}
			if chunk = append(chunk, one); len(chunk) == n {
				if !yield(chunk, nil) {
					return
				}
				chunk = nil
			}
		}
		if len(chunk) > 0 {
			yield(chunk, nil)
		}
	}
}

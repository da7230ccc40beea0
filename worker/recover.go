package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// Recover gives effects to a database that has lost them: it takes archived events through the pipeline as replays, each with the
// id and the time that it had, as of when it was decided, and a user whom it creates gets the id that it had. What the ledger has
// is a repeat, so that doing it twice changes nothing. Results are owed by the outbox under their ids, and published by the
// workers. With dry nothing is written. It says for each event what became, or would become, of it.
//
// Errors are those of the store, of ctx, and of class [record.ErrRecord] for a message that is no archived event of this deployment.
func (w *Worker) Recover(ctx context.Context, archived []record.Stored, dry bool) ([]Forecast, error) {
	events := make([]*event, len(archived))
	for i, m := range archived {
		e, err := w.openArchived(m)
		if err != nil {
			return nil, fmt.Errorf("archived event %d: %w", m.Sequence, err)
		}
		events[i] = e
	}
	w.prepareSettled(ctx, events)
	for _, e := range events {
		e.hashPassword()
	}
	decide := w.decide
	if dry {
		decide = w.dryRun
	}
	if err := decide(ctx, events); err != nil {
		return nil, err
	}
	forecasts := make([]Forecast, len(events))
	for i, e := range events {
		forecasts[i] = forecastOf(e, w.now())
	}
	return forecasts, nil
}

// Lacks reports which of archived events the ledger does not have.
func (w *Worker) Lacks(ctx context.Context, archived []record.Archived) ([]bool, error) {
	lookups := make([]store.Lookup, len(archived))
	for i, a := range archived {
		lookups[i] = store.Lookup{Tenant: a.Event.TenantID, Source: a.Event.Source, EventID: a.Event.EventID, Scope: a.Event.Scope}
	}
	found, err := w.store.Find(ctx, lookups)
	if err != nil {
		return nil, fmt.Errorf("look for effects in the ledger: %w", err)
	}
	lacks := make([]bool, len(archived))
	for i := range found {
		lacks[i] = found[i].Event == nil
	}
	return lacks, nil
}

// openArchived makes an archived event the event that it was.
func (w *Worker) openArchived(m record.Stored) (*event, error) {
	a, o, err := record.UnsealArchived(w.cfg.Sealer, m)
	if err != nil {
		return nil, err
	}
	e := storedEvent(a.Subject, a.Origin, a.StoredAt)
	e.attempt, e.env.Replayed, e.env.Door, e.recovered = a.Attempt, true, a.Door, &a
	e.open(o.Header, o.Data)
	e.env.EventID, e.former = a.Event.EventID, "" // what it had its effect under, whatever its headers would name today
	return e, nil
}

// decidedAt is the time of a decision: that of the transaction, or of the first one when an effect is recovered.
func (e *event) decidedAt(now time.Time) time.Time {
	if e.recovered != nil {
		return e.recovered.At.UTC().Truncate(time.Microsecond)
	}
	return now
}

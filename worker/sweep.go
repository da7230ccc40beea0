package worker

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// Intervals of the sweep.
const (
	sweepInterval = 5 * time.Second
	outboxAge     = 10 * time.Second // younger rows belong to the batch that made them
	outboxLease   = time.Minute
)

// sweep publishes results that were committed and never published, until ctx ends. Several workers may sweep at once.
func (w *Worker) sweep(ctx context.Context) {
	uncounted := w.now()
	var stranded map[string]bool // at the last look
	for range clock.Ticks(ctx, sweepInterval) {
		if w.database.Open() {
			continue
		}
		w.guard.Sweep(ctx)
		w.sweepOutbox(ctx)
		stranded = w.sweepStranded(ctx, stranded)
		w.summarize(ctx)
		if now := w.now(); now.Sub(uncounted) >= uncountInterval || now.Before(uncounted) {
			uncounted = now
			w.uncountLetters(ctx)
			w.forgetVerdicts(ctx)
		}
	}
}

func (w *Worker) sweepOutbox(ctx context.Context) {
	for w.results.Due() && w.sweepSome(ctx) {
		if ctx.Err() != nil {
			return
		}
	}
}

// sweepSome publishes results of the outbox, and reports whether there are more and their stream takes them. While it
// refuses, one is enough to ask it.
func (w *Worker) sweepSome(ctx context.Context) bool {
	n := 1
	if w.results.Open() {
		n = w.cfg.Batch
	}
	rows, err := w.store.ClaimOutbox(ctx, w.cfg.Name, outboxAge, n, outboxLease)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("outbox not read", "error", err)
		}
		return false
	}
	out := make([]record.Outgoing, 0, len(rows))
	for _, row := range rows {
		var h providers.Header
		if err := json.Unmarshal(row.Headers, &h); err != nil {
			w.log.Error("outbox row unreadable; it stays", "id", row.ID, "error", err)
			continue
		}
		out = append(out, record.Outgoing{Subject: row.Subject, ID: row.ID, Header: h, Data: row.Body})
	}
	done, out := w.sweepArchived(ctx, out)
	for i, err := range w.results.Publish(ctx, out) {
		if err == nil {
			done = append(done, out[i].ID)
		}
	}
	if err := w.store.DeleteOutbox(ctx, done); err != nil {
		w.log.Warn("outbox not cleared; its results are published again under the same ids", "error", err)
		return false
	}
	return len(rows) == n && len(done) > 0
}

// sweepStranded deals with events that the broker has stored and will never deliver again: those that were delivered as
// often as it allows. One that had its effect gets its result, any other a dead letter; then it is removed. Several
// workers may do this at once.
//
// It deals with those that the last sweep saw too, and returns those that it saw: the broker removes a message some time
// after its ack, and in between one that is done with, or parked, looks stranded.
func (w *Worker) sweepStranded(ctx context.Context, before map[string]bool) map[string]bool {
	seen := map[string]bool{}
	stored, created, err := w.cfg.Broker.Stranded(ctx, w.cfg.Batch)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("stranded events not looked for", "error", err)
		}
		return seen
	}
	events := make([]*event, 0, len(stored))
	for _, m := range stored {
		e := storedEvent(m.Subject, record.Origin{Stream: m.Stream, Created: created, Sequence: m.Sequence, At: m.StoredAt}, m.StoredAt)
		if seen[e.origin.String()] = true; !before[e.origin.String()] {
			continue
		}
		e.open(m.Header, m.Data)
		if err := w.settleStranded(ctx, e); err != nil {
			w.log.Warn("stranded event not looked up; it stays", "stream_seq", m.Sequence, "error", err)
			continue
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return seen
	}
	w.log.Error("events are stored and will not be delivered again; those whose end is not known become dead letters", "count", len(events))
	w.tell(ctx, slices.DeleteFunc(slices.Clone(events), func(e *event) bool { return e.told }))
	for _, e := range events {
		if !e.told {
			continue
		}
		if err := w.cfg.Broker.Remove(ctx, e.origin.Sequence); err != nil {
			w.log.Warn("stranded event not removed; it is found again", "stream_seq", e.origin.Sequence, "error", err)
		}
	}
	return seen
}

// settleStranded finds out what became of a stranded event. The broker, when it crashes, may forget that it removed a message
// that was acknowledged: then the event had its effect, is parked, or was refused as an ordinary repeat.
func (w *Worker) settleStranded(ctx context.Context, e *event) error {
	if e.env.Tenant == "" || e.env.Source == "" { // it can't have had an effect
		return nil
	}
	if err := w.keepFormerIDs(ctx, []*event{e}); err != nil {
		return err
	}
	if err := w.recallRefusals(ctx, []*event{e}); err != nil || e.kept != nil {
		return err
	}
	found, err := w.store.Find(ctx, []store.Lookup{e.broughtBy()})
	if err != nil {
		return err
	}
	if row := found[0].Brought; row != nil {
		return w.answerStranded(ctx, e, row)
	}
	if e.rejection() != nil {
		return nil
	}
	// The ids of logins have no scope, so that their sender need not be proved.
	if row := found[0].Event; row != nil && e.env.Shape == providers.ShapeLogin && slices.Equal(row.PayloadHash, e.hash[:]) {
		return w.answerStranded(ctx, e, row)
	}
	if e.told, err = w.store.IsParked(ctx, e.origin.String(), e.origin.Former().String(), e.arrived()); err != nil || e.told {
		return err
	}
	if done, err := w.settleRepeat(ctx, e); err != nil || done {
		return err
	}
	r := record.Reject(record.CodeInternal, "stranded", "The event was delivered as often as the broker allows and never finished.")
	r.Hint = "Look for what kept workers from finishing at that time; then replay."
	e.reject(r)
	return nil
}

// answerStranded gives a stranded event the answer of its row in the ledger, and notes that its message repeated it.
func (w *Worker) answerStranded(ctx context.Context, e *event, row *store.Event) error {
	again, err := e.answerAgain(ctx, w.store.Avatar, row)
	if err != nil {
		return err
	}
	e.verdict = repeat{again}
	return w.store.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
		p := w.newPlan(nil)
		p.repeat(e, row)
		return tx.Write(ctx, p.write)
	})
}

// settleRepeat finds out whether a stranded event is an ordinary repeat, which is no matter for a dead letter: of an event
// that another message brought, or of a user who is there. One that may have ended a worker is not tried.
func (w *Worker) settleRepeat(ctx context.Context, e *event) (bool, error) {
	together, _, err := w.examine(ctx, []*event{e})
	if err != nil {
		return false, err
	}
	if len(together) == 0 || e.decided() {
		return e.decided(), nil
	}
	trial := *e
	w.prepareSettled(ctx, []*event{&trial})
	trial.hashPassword()
	if err := w.dryRun(ctx, []*event{&trial}); err != nil {
		return false, err
	}
	if trial.repeated() {
		found, err := w.store.Find(ctx, []store.Lookup{lookupOf(&trial)})
		if err != nil {
			return false, err
		}
		if row := trial.earlier(&found[0]); row != nil {
			return true, w.answerStranded(ctx, e, row)
		}
		return false, nil
	}
	if r := trial.rejection(); r == nil || r.DeadLetter {
		return false, nil
	}
	e.verdict = trial.verdict
	return true, nil
}

package worker

import (
	"context"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Broker is what the worker asks of the broker beside its lanes. It is safe for concurrent use.
type Broker interface {
	// DeadLetter returns an entry of IDPSYNC_DEADLETTERS, or ErrNoMessage.
	DeadLetter(ctx context.Context, sequence uint64) (record.Stored, error)
	// Stranded returns at most limit events that are stored and will never be delivered, with when their stream was made.
	Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error)
	// Remove deletes an event from its stream; that it is gone already is no error.
	Remove(ctx context.Context, sequence uint64) error
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
		e := &event{subject: m.Subject, origin: record.Origin{Stream: m.Stream, Created: created, Sequence: m.Sequence}}
		if seen[e.origin.String()] = true; !before[e.origin.String()] {
			continue
		}
		e.env = providers.Envelope{Door: providers.DoorStream, StoredAt: m.StoredAt, EventID: e.origin.EventID()}
		e.open(m.Header, m.Data)
		if err := w.settleStray(ctx, e); err != nil {
			w.log.Warn("stranded event not looked up; it stays", "stream_seq", m.Sequence, "error", err)
			continue
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return seen
	}
	w.log.Error("events are stored and will not be delivered again; those that had no fate become dead letters", "count", len(events))
	w.deliver(ctx, slices.DeleteFunc(slices.Clone(events), func(e *event) bool { return e.told }))
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

// settleStray finds out what became of a stranded event. The broker, when it crashes, may forget that it removed a message
// that was acknowledged: then the event had its effect, is parked, or was refused as an ordinary repeat.
func (w *Worker) settleStray(ctx context.Context, e *event) error {
	if e.env.Tenant == "" || e.env.Source == "" { // it can't have had an effect
		return nil
	}
	if e.former != "" {
		if err := w.keepFormerIDs(ctx, []*event{e}); err != nil {
			return err
		}
	}
	found, err := w.store.Find(ctx, []store.Lookup{e.broughtBy()})
	if err != nil {
		return err
	}
	if row := found[0].Brought; row != nil {
		return w.answerStray(ctx, e, row)
	}
	if e.rejection != nil {
		return nil
	}
	// The ids of logins have no scope, so that their sender need not be proved.
	if row := found[0].Event; row != nil && e.env.Shape == providers.ShapeLogin && slices.Equal(row.PayloadHash, e.hash[:]) {
		return w.answerStray(ctx, e, row)
	}
	if e.told, err = w.store.IsParked(ctx, e.origin.String()); err != nil || e.told {
		return err
	}
	if done, err := w.settleRepeat(ctx, e); err != nil || done {
		return err
	}
	e.rejection = record.Reject(record.CodeInternal, "stranded", "The event was delivered as often as the broker allows and never finished.")
	e.rejection.Hint = "Look for what kept workers from finishing at that time; then replay."
	return nil
}

// answerStray gives a stranded event the answer of its row in the ledger, and notes that its message repeated it.
func (w *Worker) answerStray(ctx context.Context, e *event, row *store.Event) (err error) {
	if e.answer, err = record.ReadAnswer(row); err != nil {
		return err
	}
	e.rejection = nil
	return w.store.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
		p := w.newPlan(nil)
		p.repeat(e, row)
		return tx.Write(ctx, p.write)
	})
}

// settleRepeat finds out whether a stranded event is an ordinary repeat, which is no matter for a dead letter: of an event
// that another message brought, or of a user who is there. One that may have ended a worker is not tried.
func (w *Worker) settleRepeat(ctx context.Context, e *event) (bool, error) {
	together, _ := w.screen(ctx, []*event{e})
	if len(together) == 0 || e.rejection != nil {
		return e.rejection != nil, nil
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
			return true, w.answerStray(ctx, e, row)
		}
		return false, nil
	}
	if trial.rejection == nil || trial.rejection.DeadLetter {
		return false, nil
	}
	e.rejection = trial.rejection
	return true, nil
}

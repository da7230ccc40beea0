package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/worker/poison"
	"github.com/idpsync/idpsync/worker/record"
)

// process takes a batch through the pipeline. Events that wait for keys, or have a password to hash, leave it and come back
// by loops of their own.
func (w *Worker) process(ctx context.Context, events []*event) {
	if w.database.IsOverdue() {
		w.handOver(ctx, events)
		return
	}
	start := time.Now()
	bounded, stop := w.database.UntilOverdue(ctx)
	w.prepareAll(bounded, events)
	stop()
	w.metrics.Stage("prepare", len(events), time.Since(start))
	w.finish(ctx, w.divert(w.setAside(events)))
}

// processAgain processes events that were delivered before: together, but for those that a crash points at.
func (w *Worker) processAgain(ctx context.Context, events []*event) {
	together, alone, ok := w.screen(ctx, events)
	if !ok {
		return
	}
	if len(together) > 0 {
		w.process(ctx, together)
	}
	for _, e := range alone {
		w.processAlone(ctx, e)
	}
}

// inFlight is why an event waits that another worker may have in hand, alone, or of which that cannot be told.
const inFlight = "in_flight"

// screen parts events into those that may share a batch and those to be processed alone, by what is known of crashes, and
// marks those that were delivered before. It reports false when they were handed over meanwhile.
func (w *Worker) screen(ctx context.Context, events []*event) (together, alone []*event, ok bool) {
	var fresh, again []*event
	for _, e := range events {
		if e.cameBefore() {
			again = append(again, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	if len(again) == 0 {
		return events, nil, true
	}
	if !w.outlast(ctx, events, func() (err error) { together, alone, err = w.examine(ctx, again); return err }) {
		return nil, nil, false
	}
	if err := w.mark(ctx, false, undecided(together)); err != nil {
		w.log.Warn("in-flight markers not set; a crash would leave less evidence", "error", err)
	}
	return append(fresh, together...), alone, true
}

// examine parts events that were delivered before into those that may share a batch and those to be processed alone. A
// poison message, which killed workers that processed it alone, is rejected; what another worker may have in hand, alone,
// waits. The error is of class [store.ErrUnavailable].
func (w *Worker) examine(ctx context.Context, events []*event) (together, alone []*event, err error) {
	findings, err := w.guard.Screen(ctx, origins(events))
	if unavailable(err) {
		return nil, nil, err
	}
	if err != nil {
		w.log.Warn("in-flight markers not read; events that were delivered before wait", "error", err)
		for _, e := range events {
			e.wait(inFlight, err)
		}
		return events, nil, nil
	}
	for i, e := range events {
		f := findings[i]
		e.marked = f.Marked
		switch {
		case f.Killed != "":
			r := record.Reject(record.CodeInternal, "crashed_worker", "The event ended the worker that processed it.")
			r.Hint = "Report the event to the maintainers; replay it after an upgrade."
			e.reject(r)
			e.killed = true
			w.log.Error("poison message: the event kills workers; it becomes a dead letter", "stream_seq", e.origin.Sequence, "subject", e.subject, "worker", f.Killed)
			together = append(together, e)
		case f.Wait:
			e.verdict = &deferred{reason: inFlight, after: maxNakDelay}
			together = append(together, e)
		case f.Suspect:
			alone = append(alone, e)
		default:
			together = append(together, e)
		}
	}
	return together, alone, nil
}

// mark sets the in-flight markers of events, which survive this process.
func (w *Worker) mark(ctx context.Context, alone bool, events []*event) error {
	marks := make([]poison.Event, len(events))
	for i, e := range events {
		e.marked = true // also when it is not known whether it was set
		marks[i] = poison.Event{Origin: e.origin, Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID}
	}
	return w.guard.Mark(ctx, alone, marks...)
}

// processAlone processes one event without others that could be taken for the cause of a crash.
func (w *Worker) processAlone(ctx context.Context, e *event) {
	if !w.outlast(ctx, []*event{e}, func() error {
		err := w.mark(ctx, true, []*event{e})
		if err != nil && !unavailable(err) {
			w.log.Warn("in-flight marker not set; the event waits", "stream_seq", e.origin.Sequence, "error", err)
			e.wait(inFlight, err)
			err = nil
		}
		return err
	}) {
		return
	}
	e.alone = true
	// It waits here for keys that have to be read: where it is set aside, its marker would point at it for longer.
	events, start := []*event{e}, time.Now()
	bounded, stop := w.database.UntilOverdue(ctx)
	w.prepareSettled(bounded, events)
	stop()
	w.metrics.Stage("prepare", 1, time.Since(start))
	w.finish(ctx, w.divert(events))
}

// finish commits and delivers prepared events. While the database is away it keeps them and tries again.
func (w *Worker) finish(ctx context.Context, events []*event) {
	if len(events) == 0 {
		return
	}
	prepared := time.Now()
	if !w.outlast(ctx, events, func() error { return w.decide(ctx, events) }) {
		return
	}
	committed := time.Now()
	w.metrics.Stage("commit", len(events), committed.Sub(prepared))
	w.deliver(ctx, events)
	w.leases.drop(notErasing(events), w.now())
	w.metrics.Stage("deliver", len(events), time.Since(committed))
}

// decide commits events. While one that is processed alone is decided, its origin stands in a slot.
func (w *Worker) decide(ctx context.Context, events []*event) error {
	if len(events) == 1 && events[0].alone {
		slot := w.guard.Slot()
		defer slot.Release()
		slot.Set(events[0].origin)
		defer slot.Clear()
	}
	return w.commit(ctx, events)
}

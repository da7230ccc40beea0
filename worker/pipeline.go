package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

// process takes a batch through the pipeline. Events that wait for keys, or have a password to hash, leave it and come back
// by loops of their own.
func (w *Worker) process(ctx context.Context, events []*event) {
	if w.breaker.isOverdue() {
		w.handOver(ctx, events)
		return
	}
	start := time.Now()
	bounded, stop := w.untilOverdue(ctx)
	w.prepareAll(bounded, events)
	stop()
	w.metrics.Stage("prepare", len(events), time.Since(start))
	w.finish(ctx, w.divert(w.setAside(events)))
}

// processAgain processes events that were delivered before: together, but for those that a crash points at.
func (w *Worker) processAgain(ctx context.Context, events []*event) {
	var together, alone []*event
	if !w.outlast(ctx, events, func() (err error) { together, alone, err = w.screen(ctx, events); return err }) {
		return
	}
	if len(together) > 0 {
		w.process(ctx, together)
	}
	for _, e := range alone {
		w.processAlone(ctx, e)
	}
}

// loneDeliveries is after how many deliveries an event is processed alone without any evidence, as when the disk with
// the slots is gone with its host.
const loneDeliveries = 3

// screen parts events that were delivered before into those that may share a batch and those to be processed alone. A
// poison message, which killed a worker that processed it alone, is rejected. The error is of class [store.ErrUnavailable].
func (w *Worker) screen(ctx context.Context, events []*event) (together, alone []*event, err error) {
	origins := make([]record.Origin, len(events))
	for i, e := range events {
		origins[i] = e.origin
	}
	findings, err := w.guard.Screen(ctx, origins)
	if unavailable(err) {
		return nil, nil, err
	}
	if err != nil {
		w.log.Warn("in-flight markers not read; events are processed alone", "error", err)
		return nil, events, nil
	}
	for i, e := range events {
		f := findings[i]
		switch {
		case f.Killed != "":
			r := record.Reject(record.CodeInternal, "crashed_worker", "The event ended the worker that processed it.")
			r.Hint = "Report the event to the maintainers; replay it after an upgrade."
			e.reject(r)
			e.alone, e.killed = true, f.Killed
			w.log.Error("poison message: the event kills workers; it becomes a dead letter", "stream_seq", e.origin.Sequence, "subject", e.subject, "worker", f.Killed)
			together = append(together, e)
		case f.Suspect, e.delivery != nil && e.delivery.Delivered() > loneDeliveries:
			alone = append(alone, e)
		default:
			together = append(together, e)
		}
	}
	return together, alone, nil
}

// processAlone processes one event with an in-flight marker in the store that survives this process.
func (w *Worker) processAlone(ctx context.Context, e *event) {
	if !w.outlast(ctx, []*event{e}, func() error {
		e.alone = true // from now on: the marker may stand although the call fails
		err := w.guard.Mark(ctx, e.origin, e.env.Tenant, e.env.Source, e.env.EventID)
		if err != nil && !unavailable(err) {
			w.log.Warn("in-flight marker not set; the event waits", "stream_seq", e.origin.Sequence, "error", err)
			e.wait("in_flight_marker", err)
			err = nil
		}
		return err
	}) {
		return
	}
	// It waits here for keys that have to be read: where it is set aside, its marker would point at it for longer.
	events, start := []*event{e}, time.Now()
	bounded, stop := w.untilOverdue(ctx)
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
	w.leases.drop(notErasing(events))
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

package worker

import (
	"context"

	"github.com/idpsync/idpsync/worker/poison"
	"github.com/idpsync/idpsync/worker/record"
)

// Events that were delivered before are screened: one of them may have ended the worker that had it. In-flight markers say which
// run of a worker has them in hand; pipeline.go clears them before the broker is told of their end.

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

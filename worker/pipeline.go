package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
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
	w.tell(ctx, events)
	w.leases.drop(notErasing(events), w.now())
	w.metrics.Stage("deliver", len(events), time.Since(committed))
}

// decide commits events, and those again that had to be verified by a newer directory. While one that is processed alone is
// decided, its origin stands in a slot.
func (w *Worker) decide(ctx context.Context, events []*event) error {
	if len(events) == 1 && events[0].alone {
		slot := w.guard.Slot()
		defer slot.Release()
		slot.Set(events[0].origin)
		defer slot.Clear()
	}
	for left := events; len(left) > 0; {
		stale, err := w.commit(ctx, left)
		if err != nil {
			return err
		}
		w.renew(ctx, stale)
		left = undecided(stale)
	}
	return nil
}

// tell tells everybody what became of decided events.
func (w *Worker) tell(ctx context.Context, events []*event) {
	// Before anybody is told, and so before another worker can take an event up. Poison keeps its markers until it is a dead letter.
	w.clearMarkers(ctx, events, func(e *event) bool { return !e.killed })
	w.deliver(ctx, events)
	w.clearMarkers(ctx, events, func(e *event) bool { return e.killed && e.told })
}

// clearTimeout bounds what a worker does for events when its time is up.
const clearTimeout = time.Second

// clearMarkers clears the in-flight markers of those events, also when time is up: this worker lives, so none of them killed
// it. Of events that wait as a marker stands in their way, it clears its own: what other workers left says no less than before.
func (w *Worker) clearMarkers(ctx context.Context, events []*event, of func(*event) bool) {
	var done, barred []*event
	for _, e := range events {
		switch v := e.waiting(); {
		case !e.marked || !of(e):
		case v != nil && v.reason == inFlight:
			barred = append(barred, e)
		default:
			done = append(done, e)
		}
	}
	w.unmark(ctx, done, w.guard.Clear)
	w.unmark(ctx, barred, w.guard.GiveUp)
}

// giveUp clears the markers of this worker at events that it gives back undecided.
func (w *Worker) giveUp(ctx context.Context, events []*event) { w.unmark(ctx, events, w.guard.GiveUp) }

func (w *Worker) unmark(ctx context.Context, events []*event, clearAll func(context.Context, []record.Origin)) {
	if !slices.ContainsFunc(events, func(e *event) bool { return e.marked }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	clearAll(ctx, origins(events))
}

// origins are where the events were stored.
func origins(events []*event) []record.Origin {
	all := make([]record.Origin, len(events))
	for i, e := range events {
		all[i] = e.origin
	}
	return all
}

// While the database is away nothing is pulled, and what is in hand waits for it. Once that has lasted for [Config.Patience],
// the worker gives back what it holds, so that workers go on that still reach the database. It pulls again when it has
// written to the database itself: if all workers are cut off, events wait at the broker and are not passed round.

// DatabaseAway reports whether the worker waits for its database. It asks nobody and answers at once.
func (w *Worker) DatabaseAway() bool { return w.database.Open() }

// outlast calls do again until the database serves it, and reports whether it did. Otherwise the events are done with: time is
// up, or they were handed over.
func (w *Worker) outlast(ctx context.Context, events []*event, do func() error) bool {
	for try := 0; ; try++ {
		if w.database.IsOverdue() {
			w.handOver(ctx, events)
			return false
		}
		began := time.Now()
		err := do()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			w.giveUp(ctx, events)
			return false // the messages go back to the broker
		}
		w.database.Away(began, err)
		timer := time.NewTimer(clock.Backoff(min(try, 3), 0))
		select {
		case <-timer.C:
		case <-w.database.Overdue():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// handOver gives up events for workers that reach the database. What came from the broker goes back to it at once, a caller is
// told, and parked events are free when their claim ends.
//
// Their markers cannot be cleared now, and are once the database is back. Until then an event that is processed alone waits
// wherever it is delivered.
func (w *Worker) handOver(ctx context.Context, events []*event) {
	w.giveUp(ctx, events)
	w.giveBack(events)
	for _, e := range events {
		if e.reply != nil {
			r := record.Reject(record.CodeUnavailable, "database", unreachable)
			a := record.Rejected(r, w.now())
			a.CameIn = e.cameIn()
			e.reply <- *a
		}
	}
}

// giveBack returns messages to the broker, to be delivered to somebody else at once.
func (w *Worker) giveBack(events []*event) {
	given := 0
	for _, e := range events {
		if e.delivery == nil {
			continue
		}
		if err := e.delivery.NakWithDelay(0); err != nil {
			w.log.Debug("message not given back; the broker delivers it again after AckWait", "stream_seq", e.origin.Sequence, "error", err)
			continue
		}
		given++
	}
	w.leases.drop(events, w.now())
	w.database.GaveBack(given)
}

// unavailable reports whether an error is that of a database that is away.
func unavailable(err error) bool { return errors.Is(err, store.ErrUnavailable) }

package worker

import (
	"context"
	"errors"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

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

package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// While the database is away nothing is pulled, and what is in hand waits for it. Once that has lasted for [Config.Patience],
// the worker gives back what it holds, so that workers go on that still reach the database. It pulls again when it has
// written to the database itself: if all workers are cut off, events wait at the broker and are not passed round.

// DatabaseTimeout bounds each call of a worker to its database, and on its server each statement and each pause in a
// transaction. It is shorter than the default of [Config.Patience]: what a worker leaves unfinished there is rolled back before
// others get its events.
const DatabaseTimeout = 10 * time.Second

// How the database is watched.
const (
	watchInterval = time.Second
	watchTimeout  = 5 * time.Second // of one look
)

// watchDatabase notices that the database is away, and that it is back, until ctx ends.
func (w *Worker) watchDatabase(ctx context.Context) {
	for range clock.Ticks(ctx, watchInterval) {
		w.look(ctx)
	}
}

func (w *Worker) look(ctx context.Context) {
	look, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	began := time.Now()
	if !w.breaker.open() {
		if err := w.store.Ready(look); err != nil && ctx.Err() == nil {
			w.away(began, err)
		}
		return
	}
	if err := w.store.TryWrite(look); err != nil {
		if ctx.Err() == nil {
			w.tellOutage("database still away", err)
		}
		return
	}
	if lasted, was := w.breaker.reset(); was {
		w.log.Info("database back; pulling goes on", "after", lasted.Round(time.Millisecond), "given_back", w.given.Swap(0))
	}
}

// DatabaseAway reports whether the worker waits for its database. It asks nobody and answers at once.
func (w *Worker) DatabaseAway() bool { return w.breaker.open() }

// away notes that a call that began at since found the database away.
func (w *Worker) away(since time.Time, err error) {
	if !w.breaker.trip(since) {
		return
	}
	w.tellOutage("database away; pulling stops until it is back", err)
}

// tellOutage logs an outage once in a while.
func (w *Worker) tellOutage(text string, err error) {
	others, due := w.outages.due(time.Now())
	if !due {
		return
	}
	what, hint := store.Explain(err)
	w.log.Error(text, "error", err, "what", what, "hint", hint, "others_since", others)
}

// untilOverdue returns a context that ends with ctx, or once the database has been away for too long. The caller calls stop.
func (w *Worker) untilOverdue(ctx context.Context) (bounded context.Context, stop func()) {
	bounded, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	overdue := w.breaker.overdue()
	watch.Go(func() {
		select {
		case <-overdue:
			cancel()
		case <-bounded.Done():
		}
	})
	return bounded, func() { cancel(); watch.Wait() }
}

// outlast calls do again until the database serves it, and reports whether it did. Otherwise the events are done with: time is
// up, or they were handed over.
func (w *Worker) outlast(ctx context.Context, events []*event, do func() error) bool {
	for try := 0; ; try++ {
		if w.breaker.isOverdue() {
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
		w.away(began, err)
		timer := time.NewTimer(backoff(min(try, 3), 0))
		select {
		case <-timer.C:
		case <-w.breaker.overdue():
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
	w.given.Add(int64(given))
}

// unavailable reports whether an error is that of a database that is away.
func unavailable(err error) bool { return errors.Is(err, store.ErrUnavailable) }

package worker

import (
	"context"
	"slices"
	"time"
)

// Events that left their batch come back by the loops of this file: parked ones from the store, those that were set aside
// once keys were read, and those whose password was hashed.

// maxClaim bounds the parked events in hand, each of which may be as large as the broker lets it be.
const maxClaim = 100

// parkLease is how long a claimed event belongs to a worker; a worker that dies frees its claims by it.
const parkLease = 2 * time.Minute

// relay brings parked events back when they are due, until ctx ends; those under way end with hard.
func (w *Worker) relay(ctx, hard context.Context) {
	tick := time.NewTicker(w.cfg.RelayInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for w.relayOnce(ctx, hard) == min(w.cfg.Batch, maxClaim) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (w *Worker) relayOnce(ctx, hard context.Context) int {
	if w.breaker.open() {
		return 0
	}
	began := time.Now()
	rows, err := w.store.ClaimParked(ctx, w.cfg.Name, min(w.cfg.Batch, maxClaim), w.now(), parkLease)
	if unavailable(err) {
		w.away(began, err)
		return 0
	}
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("parked events could not be read", "error", err)
		}
		return 0
	}
	events := make([]*event, 0, len(rows))
	for _, row := range rows {
		e, err := w.openParked(row)
		if err != nil {
			w.log.Error("parked event unreadable; it stays", "id", row.ID, "error", err)
			continue
		}
		e.due = w.now()
		events = append(events, e)
	}
	if len(events) == 0 {
		return len(rows)
	}
	w.processAgain(hard, events)
	return len(rows)
}

// asideTurns is the number of batches of set-aside events that are processed at a time.
const asideTurns = 2

// bringBack waits for a read, then processes the events that waited for it. Those that are held when ctx ends go back to
// where they came from.
func (w *Worker) bringBack(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-w.breaker.overdue(): // process gives them back
	case <-ctx.Done():
	}
	events := w.aside.take(ready)
	if ctx.Err() != nil {
		return
	}
	w.turns <- struct{}{}
	defer func() { <-w.turns }()
	for batch := range slices.Chunk(events, w.cfg.Batch) {
		for _, e := range batch {
			e.resume()
		}
		w.process(ctx, batch)
	}
}

// hash hashes the passwords of diverted events until stop is closed and none is left. Work ends at once when hard does.
func (w *Worker) hash(hard context.Context, stop <-chan struct{}) {
	for hard.Err() == nil {
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
			continue
		case <-hard.Done():
			return
		case <-stop:
		}
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
		default:
			return
		}
	}
}

func (w *Worker) hashOne(ctx context.Context, e *event) {
	if !w.breaker.isOverdue() {
		e.hashPassword()
	}
	w.finish(ctx, []*event{e})
}

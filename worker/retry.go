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

// relay has parked events take their turns in the lanes when they are due, until ctx ends.
func (w *Worker) relay(ctx context.Context) {
	tick := time.NewTicker(w.cfg.RelayInterval)
	defer tick.Stop()
	for more := false; ctx.Err() == nil; {
		freed := w.leases.loads.Freed() // before the claims, so that none that ends meanwhile is missed
		held := w.leases.claims()
		if more && w.claimable(held) > 0 {
			more = w.claim(ctx)
			continue
		}
		if !more {
			freed = nil
		}
		select {
		case <-ctx.Done():
		case <-freed:
		case <-tick.C:
			more = w.claim(ctx)
		}
	}
}

// claimable is how many parked events may be claimed while so many are in hand: none until half of them are done with, so
// that each claim is worth its statement.
func (w *Worker) claimable(held int) int {
	most := min(w.cfg.Batch, maxClaim)
	if held > most/2 {
		return 0
	}
	return most - held
}

// claim takes as many parked events as there is room for, and reports whether there may be more.
func (w *Worker) claim(ctx context.Context) bool {
	held := w.leases.claims()
	limit := w.claimable(held)
	if limit == 0 {
		return true
	}
	if w.database.Open() {
		return false
	}
	began := time.Now()
	rows, err := w.store.ClaimParked(ctx, w.cfg.Name, limit, parkLease)
	if unavailable(err) {
		w.database.Away(began, err)
		return false
	}
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("parked events could not be read", "error", err)
		}
		return false
	}
	for _, row := range rows {
		e, err := w.openParked(row)
		if err != nil {
			w.log.Error("parked event unreadable; it stays", "id", row.ID, "error", err)
			continue
		}
		e.due = w.now()
		w.laneFor(e).enter(e)
	}
	return len(rows) == limit
}

// asideTurns is the number of batches of set-aside events that are processed at a time.
const asideTurns = 2

// bringBack waits for a read, then processes the events that waited for it. Those that are held when ctx ends go back to
// where they came from.
func (w *Worker) bringBack(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-w.database.Overdue(): // process gives them back
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
	if !w.database.IsOverdue() {
		e.hashPassword()
	}
	w.finish(ctx, []*event{e})
}

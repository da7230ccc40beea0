package worker

import (
	"context"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/share"
)

// Events that left their batch come back by the loops of this file: parked ones from the store, those that were set aside
// once keys were read, and those whose password was hashed.

// maxClaim bounds the parked events in hand, each of which may be as large as the broker lets it be.
const maxClaim = 100

// parkLease is how long a claimed event belongs to a worker; a worker that dies frees its claims by it.
const parkLease = 2 * time.Minute

// relay has parked events take their turns in the lanes when they are due, until ctx ends. There may be more as long as some
// were claimed; they are claimed when half of those are done with, so that each claim is worth its statement.
func (w *Worker) relay(ctx context.Context) {
	tick := time.NewTicker(w.cfg.RelayInterval)
	defer tick.Stop()
	for claimed, left := 0, 0; ctx.Err() == nil; {
		freed := w.leases.loads.Freed() // before the claims, so that none that ends meanwhile is missed
		if _, held := w.leases.claims(); claimed > 0 && held <= left {
			claimed, left = w.claim(ctx)
			continue
		}
		if claimed == 0 {
			freed = nil
		}
		select {
		case <-ctx.Done():
		case <-freed:
		case <-tick.C:
			claimed, left = w.claim(ctx)
		}
	}
}

// claim takes up parked events, by turns of tenants and sources. It returns how many were claimed, and how many are in hand
// when half of them are done with.
func (w *Worker) claim(ctx context.Context) (claimed, left int) {
	most := min(w.cfg.Batch, maxClaim)
	held, total := w.leases.claims()
	if total >= most || w.database.Open() {
		return 0, 0
	}
	began := time.Now()
	rows, err := w.store.ClaimParked(ctx, w.cfg.Name, most, func(due []store.ParkedSource) []int {
		queues := make([]share.Queue, len(due))
		for i, d := range due {
			queues[i] = share.Queue{Source: share.Source{Tenant: d.Tenant, Name: d.Source}, Waiting: d.Due, Since: d.Oldest}
		}
		return share.Portions(most, held, queues)
	}, parkLease)
	if unavailable(err) {
		w.database.Away(began, err)
		return 0, 0
	}
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("parked events could not be read", "error", err)
		}
		return 0, 0
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
	return len(rows), total + len(rows)/2
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

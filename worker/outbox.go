package worker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// Intervals of the sweep.
const (
	sweepInterval = 5 * time.Second
	outboxAge     = 10 * time.Second // younger rows belong to the batch that made them
	outboxLease   = time.Minute
	pruneInterval = time.Hour
)

// sweep publishes results that were committed and never published, and forgets used ids that no longer matter, until
// ctx ends. Several workers may sweep at once.
func (w *Worker) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	pruned := w.now()
	var stranded map[string]bool // at the last look
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.breaker.open() {
			continue
		}
		w.sweepLeftCrumbs(ctx)
		w.sweepOutbox(ctx)
		stranded = w.sweepStranded(ctx, stranded)
		if now := w.now(); now.Sub(pruned) >= pruneInterval {
			pruned = now
			if _, err := w.store.PruneUsedIDs(ctx, now); err != nil && ctx.Err() == nil {
				w.log.Warn("used ids not pruned", "error", err)
			}
		}
	}
}

func (w *Worker) sweepOutbox(ctx context.Context) {
	now := w.now()
	rows, err := w.store.ClaimOutbox(ctx, w.cfg.Name, now.Add(-outboxAge), w.cfg.Batch, now, outboxLease)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("outbox not read", "error", err)
		}
		return
	}
	if len(rows) == 0 {
		return
	}
	out := make([]record.Outgoing, 0, len(rows))
	for _, row := range rows {
		var h providers.Header
		if err := json.Unmarshal(row.Headers, &h); err != nil {
			w.log.Error("outbox row unreadable; it stays", "id", row.ID, "error", err)
			continue
		}
		out = append(out, record.Outgoing{Subject: row.Subject, ID: row.ID, Header: h, Data: row.Body})
	}
	errs := w.publisher.Publish(ctx, out)
	var done []string
	for i, o := range out {
		if errs == nil || errs[i] == nil {
			done = append(done, o.ID)
		}
	}
	if err := w.store.DeleteOutbox(ctx, done); err != nil {
		w.log.Warn("outbox not cleared; its results are published again under the same ids", "error", err)
	}
}

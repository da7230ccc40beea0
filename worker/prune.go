package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
)

// The ledger is kept for as long as anything may ask for it: a result or a dead letter in the broker, or an event that waits to
// be processed for the first time. So a dead letter that can be replayed still finds what its replay came to, and idpsync
// prove finds the row of each result. An event from before that is refused, unless an operator replays it; see decide.

// How old rows are deleted.
const (
	pruneBatch  = 500              // rows of one transaction
	pruneShare  = 2                // a transaction is followed by a pause of this many times what it took
	pruneRest   = time.Millisecond // at least
	historyStep = time.Hour        // by which the beginning of the history moves, so that it mostly stands still
	clockMargin = time.Hour        // rows are deleted this long after the history has passed them: the clocks that wrote them differ
)

// prune deletes old rows, one worker at a time, until ctx ends.
func (w *Worker) prune(ctx context.Context) {
	for range clock.Ticks(ctx, w.cfg.PruneInterval) {
		if w.breaker.open() {
			continue
		}
		if err := w.pruneOnce(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("old rows not deleted; the next round goes on", "error", err)
		}
	}
}

// pruneOnce is one round, if no other worker has one. It ends before the next one begins.
func (w *Worker) pruneOnce(ctx context.Context) error {
	claimed, err := w.store.ClaimPruning(ctx, w.cfg.Name, w.cfg.PruneInterval)
	if err != nil || !claimed {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.PruneInterval)
	defer cancel()
	r, err := w.store.Retention(ctx)
	if err != nil {
		return err
	}
	keeps, err := w.cfg.Broker.Keeps(ctx)
	if err != nil {
		return err
	}
	now, err := w.earliestNow(ctx, keeps)
	if err != nil {
		return err
	}
	tasks := []pruneTask{{store.PruneUsedIDs, now}, {store.PruneAudit, now.Add(-r.Audit)}}
	if age := w.ledgerAge(r, keeps); age > 0 {
		history := now.Add(-age).Truncate(historyStep)
		if err := w.store.BeginHistory(ctx, history); err != nil {
			return err
		}
		old := history.Add(-clockMargin)
		for _, p := range []store.Prunable{store.PruneEvents, store.PruneRepeats, store.PruneOutbox, store.PruneDeadLetters, store.PruneAvatars} {
			tasks = append(tasks, pruneTask{p, old})
		}
		// A dead letter as old as the ledger may be of an event that was as old when it was refused.
		tasks = append(tasks, pruneTask{store.PruneKeys, old.Add(-age)})
	}
	for _, t := range tasks {
		if err := w.pruneAll(ctx, t); err != nil {
			return err
		}
	}
	_, err = w.guard.Prune(ctx)
	return err
}

// A pruneTask is rows to delete, and from before when.
type pruneTask struct {
	rows   store.Prunable
	before time.Time
}

// pruneAll deletes the rows of a task in small transactions, and leaves most of the time to others.
func (w *Worker) pruneAll(ctx context.Context, t pruneTask) error {
	var deleted int64
	defer func() {
		if deleted > 0 {
			w.log.Info("old rows deleted", "table", t.rows, "rows", deleted, "before", t.before)
		}
	}()
	for {
		began := time.Now()
		n, err := w.store.Prune(ctx, t.rows, t.before, pruneBatch)
		deleted += n
		if err != nil || n < pruneBatch {
			return err
		}
		if err := pause(ctx, max(pruneShare*time.Since(began), pruneRest)); err != nil {
			return err
		}
	}
}

// earliestNow is the earliest of three clocks: one that is fast must not make anything old.
func (w *Worker) earliestNow(ctx context.Context, keeps BrokerKeeps) (time.Time, error) {
	now, err := w.store.Now(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, other := range []time.Time{w.now(), keeps.Now} {
		if other.Before(now) {
			now = other
		}
	}
	return now, nil
}

// ledgerAge is how long the ledger is kept: longer than its retention says, where something would ask for it after that. 0 is
// for ever.
func (w *Worker) ledgerAge(r store.Retention, keeps BrokerKeeps) time.Duration {
	need := max(keeps.Results, keeps.DeadLetters, w.directories.Current().MaxEventAge())
	if keeps.Results <= 0 || keeps.DeadLetters <= 0 {
		need = 0
	}
	if need > 0 && need <= r.Ledger {
		return r.Ledger
	}
	w.log.Warn("the ledger is kept longer than its retention says, as events may be asked for after it; raise it with idpsync migrate --ledger-age",
		"retention", r.Ledger, "needed", need, "results", keeps.Results, "dead_letters", keeps.DeadLetters)
	return need
}

// Package retention deletes what nothing will ask for any more.
//
// The ledger is kept for as long as anything may ask for it: a result or a dead letter in the broker, or an event that waits to
// be processed for the first time. So a dead letter that can be replayed still finds what its replay came to, and idpsync
// prove finds the row of each result. A worker refuses an event from before that, unless an operator replays it.
package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
)

// How old rows are deleted.
const (
	pruneBatch  = 500              // rows of one transaction
	pruneShare  = 2                // a transaction is followed by a pause of this many times what it took
	pruneRest   = time.Millisecond // at least
	historyStep = time.Hour        // by which the beginning of the history moves, so that it mostly stands still
	clockMargin = time.Hour        // rows are deleted this long after the history has passed them: the clocks that wrote them differ
)

// Keeps says how long the broker keeps results and dead letters. Zero is for ever.
type Keeps struct {
	Results, DeadLetters time.Duration
	Archive              time.Duration // of events that had their effect; zero: there is none
	Now                  time.Time     // by the broker's clock
}

// A Broker says how long it keeps what speaks of events that are decided.
type Broker interface {
	Keeps(ctx context.Context) (Keeps, error)
}

// A Store is what rows are deleted from; *store.Store is one.
type Store interface {
	Now(ctx context.Context) (time.Time, error)
	Retention(ctx context.Context) (store.Retention, error)
	ClaimPruning(ctx context.Context, worker string, lease time.Duration) (bool, error)
	BeginHistory(ctx context.Context, from time.Time) error
	Prune(ctx context.Context, p store.Prunable, before time.Time, n int) (int64, error)
}

// Options are what a [Pruner] is made of.
type Options struct {
	Worker      string // its name
	Interval    time.Duration
	Store       Store
	Broker      Broker
	MaxEventAge func() time.Duration                 // the greatest of all sources
	Markers     func(context.Context) (int64, error) // deletes old in-flight markers
	Away        func() bool                          // the database is away
	Now         func() time.Time
	Log         *slog.Logger
}

// A Pruner deletes old rows, one worker of a deployment at a time.
type Pruner struct{ o Options }

// New returns a pruner that is ready to Run.
func New(o Options) *Pruner { return &Pruner{o: o} }

// Run deletes old rows at intervals until ctx ends.
func (p *Pruner) Run(ctx context.Context) {
	for range clock.Ticks(ctx, p.o.Interval) {
		if p.o.Away() {
			continue
		}
		if err := p.once(ctx); err != nil && ctx.Err() == nil {
			p.o.Log.Warn("old rows not deleted; the next round goes on", "error", err)
		}
	}
}

// once is one round, if no other worker has one. It ends before the next one begins.
func (p *Pruner) once(ctx context.Context) error {
	claimed, err := p.o.Store.ClaimPruning(ctx, p.o.Worker, p.o.Interval)
	if err != nil || !claimed {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Interval)
	defer cancel()
	r, err := p.o.Store.Retention(ctx)
	if err != nil {
		return err
	}
	keeps, err := p.o.Broker.Keeps(ctx)
	if err != nil {
		return err
	}
	now, err := p.earliestNow(ctx, keeps)
	if err != nil {
		return err
	}
	tasks := []task{{store.PruneUsedIDs, now}, {store.PruneAudit, now.Add(-r.Audit)}}
	if age := p.ledgerAge(r, keeps); age > 0 {
		history := now.Add(-age).Truncate(historyStep)
		if err := p.o.Store.BeginHistory(ctx, history); err != nil {
			return err
		}
		old := history.Add(-clockMargin)
		for _, rows := range []store.Prunable{store.PruneEvents, store.PruneRepeats, store.PruneOutbox, store.PruneDeadLetters, store.PruneAvatars} {
			tasks = append(tasks, task{rows, old})
		}
		// A dead letter as old as the ledger may be of an event that was as old when it was refused.
		tasks = append(tasks, task{store.PruneKeys, old.Add(-age)})
	}
	for _, t := range tasks {
		if err := p.all(ctx, t); err != nil {
			return err
		}
	}
	_, err = p.o.Markers(ctx)
	return err
}

// A task is rows to delete, and from before when.
type task struct {
	rows   store.Prunable
	before time.Time
}

// all deletes the rows of a task in small transactions, and leaves most of the time to others.
func (p *Pruner) all(ctx context.Context, t task) error {
	var deleted int64
	defer func() {
		if deleted > 0 {
			p.o.Log.Info("old rows deleted", "table", t.rows, "rows", deleted, "before", t.before)
		}
	}()
	for {
		began := time.Now()
		n, err := p.o.Store.Prune(ctx, t.rows, t.before, pruneBatch)
		deleted += n
		if err != nil || n < pruneBatch {
			return err
		}
		if err := clock.Pause(ctx, max(pruneShare*time.Since(began), pruneRest)); err != nil {
			return err
		}
	}
}

// earliestNow is the earliest of three clocks: one that is fast must not make anything old.
func (p *Pruner) earliestNow(ctx context.Context, keeps Keeps) (time.Time, error) {
	now, err := p.o.Store.Now(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, other := range []time.Time{p.o.Now(), keeps.Now} {
		if other.Before(now) {
			now = other
		}
	}
	return now, nil
}

// ledgerAge is how long the ledger is kept: longer than its retention says, where something would ask for it after that. 0 is
// for ever.
func (p *Pruner) ledgerAge(r store.Retention, keeps Keeps) time.Duration {
	need := max(keeps.Results, keeps.DeadLetters, keeps.Archive, p.o.MaxEventAge())
	if keeps.Results <= 0 || keeps.DeadLetters <= 0 {
		need = 0
	}
	if need > 0 && need <= r.Ledger {
		return r.Ledger
	}
	p.o.Log.Warn("the ledger is kept longer than its retention says, as events may be asked for after it; raise it with idpsync migrate --ledger-age",
		"retention", r.Ledger, "needed", need, "results", keeps.Results, "dead_letters", keeps.DeadLetters, "archive", keeps.Archive)
	return need
}

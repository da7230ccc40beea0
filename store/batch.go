package store

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Tx is the transaction of one batch. It is not safe for concurrent use and ends with the function that got it.
type Tx struct {
	s  *Store
	tx *sqlx.Tx
}

// raceTries bounds how often a batch that is raced runs. Each loss means that another writer got on, and what it wrote
// is found the next time, so that a second loss is rare.
const raceTries = 8

// Batch runs fn in one transaction and commits it when fn returns nil. When fn or the commit is raced by another writer
// ([ErrRaced], which covers deadlocks), everything is rolled back and fn runs again, a bounded number of times; fn must
// therefore decide only on what it finds through tx, and change nothing outside. Other errors of fn come back as they are.
//
// An error of the commit itself that is [ErrUnavailable] leaves open whether the batch was stored; the ledger tells.
func (s *Store) Batch(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return s.again(ctx, func() error { return s.once(ctx, fn, true) })
}

// DryRun runs fn like [Store.Batch] and always rolls back, so that the outcome can be foretold. Until it returns, writers
// of the same keys wait for it, and in SQLite all writers; so keep fn short.
func (s *Store) DryRun(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return s.again(ctx, func() error { return s.once(ctx, fn, false) })
}

func (s *Store) once(ctx context.Context, fn func(context.Context, *Tx) error, commit bool) error {
	if !s.postgres() {
		if err := s.stmts.prepare(ctx, s.write, batchStatements()); err != nil {
			return classify(ctx, err)
		}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	tx, err := s.write.BeginTxx(ctx, nil)
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(ctx, &Tx{s: s, tx: tx}); err != nil || !commit {
		if err != nil && tooSlow(ctx) {
			return classify(ctx, err)
		}
		return err
	}
	return classify(ctx, tx.Commit())
}

// again runs fn until it is not raced.
func (s *Store) again(ctx context.Context, fn func() error) error {
	for i := 1; ; i++ {
		err := fn()
		if !errors.Is(err, ErrRaced) || i == raceTries {
			return err
		}
		s.log.DebugContext(ctx, "store: raced, running again", "try", i, "error", err)
		if err := pause(ctx, i); err != nil {
			return err
		}
	}
}

// pause waits some milliseconds, longer after each try; the clock's fraction keeps two workers from waiting alike.
func pause(ctx context.Context, try int) error {
	d := time.Duration(try)*time.Millisecond + time.Duration(time.Now().UnixNano()%int64(4*time.Millisecond))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

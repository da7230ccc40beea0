package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// How long rows are kept when nothing else is set, and at least.
const (
	DefaultLedgerAge = 100 * 24 * time.Hour
	DefaultAuditAge  = 730 * 24 * time.Hour
	MinLedgerAge     = 24 * time.Hour
	MinAuditAge      = 30 * 24 * time.Hour
)

// A Retention says how long rows are kept that nothing needs any more.
type Retention struct {
	Ledger time.Duration // events and all that is kept of them
	Audit  time.Duration
	// HistoryFrom is the time from which on the ledger is whole: of events before it rows may be gone. Zero: none is.
	HistoryFrom time.Time
}

// Retention returns how long rows are kept.
func (s *Store) Retention(ctx context.Context) (Retention, error) {
	var row retentionRow
	err := s.get(ctx, &row, "retention", selectRetention)
	return row.retention(), err
}

const selectRetention = `select ledger, audit, history_from from retention`

type retentionRow struct {
	Ledger, Audit int64 // seconds
	HistoryFrom   stamp `db:"history_from"`
}

func (r retentionRow) retention() Retention {
	return Retention{time.Duration(r.Ledger) * time.Second, time.Duration(r.Audit) * time.Second, r.HistoryFrom.Time}
}

// SetRetention sets how long rows are kept, in whole seconds, where that differs; HistoryFrom is not looked at. Too short an
// age is an [ErrConstraint].
func (s *Store) SetRetention(ctx context.Context, r Retention, who string, when time.Time) error {
	if r.Ledger < MinLedgerAge || r.Audit < MinAuditAge {
		return fmt.Errorf("%w: the ledger is kept for %v at least, the audit for %v", ErrConstraint, MinLedgerAge, MinAuditAge)
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		query := selectRetention
		if s.postgres() {
			query += ` for update`
		}
		var row retentionRow
		if err := tx.GetContext(ctx, &row, query); err != nil {
			return err
		}
		had := row.retention()
		if had.Ledger == r.Ledger && had.Audit == r.Audit {
			return nil
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(`update retention set ledger = ?, audit = ?`), int64(r.Ledger/time.Second), int64(r.Audit/time.Second)); err != nil {
			return err
		}
		return audit(ctx, tx, AuditEntry{
			At: when, Who: who, Action: "retention.set", Object: "retention",
			Detail: detail(map[string]any{"ledger": r.Ledger.String(), "audit": r.Audit.String(), "ledger_before": had.Ledger.String(), "audit_before": had.Audit.String()}),
		})
	})
}

// ClaimPruning hands the work of pruning to the worker until its lease ends, unless another one has it. Times are those of
// the database's clock.
func (s *Store) ClaimPruning(ctx context.Context, worker string, lease time.Duration) (bool, error) {
	claimed := false
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		n, err := changed(tx.ExecContext(ctx, tx.Rebind(`update retention set claimed_by = ?, claimed_until = ? where claimed_until is null or claimed_until <= ?`),
			worker, at(now.Add(lease)), at(now)))
		claimed = n > 0
		return err
	})
	return claimed, err
}

// BeginHistory moves the time from which on the ledger is whole. It never moves back. It has to be moved before rows are
// pruned: an event that is decided later finds either its row or that it was stored before this time.
func (s *Store) BeginHistory(ctx context.Context, from time.Time) error {
	_, err := s.exec(ctx, `update retention set history_from = ? where history_from is null or history_from < ?`, at(from), at(from))
	return err
}

// A Prunable is a kind of rows that are deleted once they are old.
type Prunable string

// The kinds of rows, and by which of their times they are old.
const (
	PruneEvents      Prunable = "events"         // stored and processed
	PruneRepeats     Prunable = "repeats"        // processed
	PruneOutbox      Prunable = "outbox"         // made; a result that nobody could publish
	PruneDeadLetters Prunable = "dead_letters"   // changed last; the entry itself is in the broker
	PruneAvatars     Prunable = "former_avatars" // replaced
	PruneKeys        Prunable = "source_keys"    // withdrawn by their issuer
	PruneUsedIDs     Prunable = "used_ids"       // of no use from then on
	PruneAudit       Prunable = "audit"          // recorded
	PruneRefused     Prunable = "refused"        // refused, unless the event is parked
)

// A pruning says which rows are old (before each ?), in which order, and by which key SQLite finds them.
type pruning struct{ old, order, key string }

func (p Prunable) rows() pruning {
	switch p {
	case PruneEvents:
		return pruning{"at < ? and stored_at < ?", "at", "rowid"}
	case PruneRepeats:
		return pruning{"at < ?", "at", "origin"}
	case PruneDeadLetters:
		return pruning{"updated_at < ? and created_at < ?", "updated_at", "rowid"}
	case PruneKeys:
		return pruning{"retired_at < ?", "retired_at", "rowid"}
	case PruneUsedIDs:
		return pruning{"until < ?", "until", "tenant_id, source, id"}
	case PruneRefused:
		return pruning{"at < ? and not exists (select 1 from parked p where p.key = refused.origin)", "at", "attempt"}
	case PruneOutbox, PruneAvatars, PruneAudit:
		return pruning{"at < ?", "at", "rowid"}
	}
	panic("store: nothing is known of rows of " + string(p))
}

// Prune deletes the oldest rows of a kind from before the time, n of them at most, and returns how many those were. It is one
// short transaction that locks no others.
func (s *Store) Prune(ctx context.Context, p Prunable, before time.Time, n int) (int64, error) {
	r := p.rows()
	query := `delete from %[1]s where (%[4]s) in (select %[4]s from %[1]s where %[2]s order by %[3]s limit ?)`
	if s.postgres() {
		query = `delete from %[1]s where ctid = any (array(select ctid from %[1]s where %[2]s order by %[3]s limit ?))`
	}
	args := make([]any, strings.Count(r.old, "?"), 3)
	for i := range args {
		args[i] = at(before)
	}
	return s.exec(ctx, fmt.Sprintf(strings.ReplaceAll(query, "%[4]s", r.key), p, r.old, r.order), append(args, n)...)
}

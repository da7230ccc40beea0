package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// An Outbox is a result whose publication is owed since its transaction was committed.
type Outbox struct {
	ID      string // the result's message id
	Subject string
	Headers []byte // in the form that the caller chose
	Body    []byte
	At      time.Time
}

// Owe stores results whose stream refused them. One whose id is there stays as it is.
func (s *Store) Owe(ctx context.Context, results []Outbox) error {
	var c checker
	for i := range results {
		c.key("Outbox", i, "ID", results[i].ID)
	}
	if c.err != nil || len(results) == 0 {
		return c.err
	}
	rows := sorted(results, func(a, b *Outbox) int { return cmp.Compare(a.ID, b.ID) })
	return s.insertAll(ctx, insertion{"outbox", " on conflict (id) do nothing", outboxColumns(rows)})
}

// ClaimOutbox hands the oldest results that are at least as old as age to the worker, until its lease ends: no other gets
// them while it lasts. They stay until [Store.DeleteOutbox]. Times are those of the database's clock; a result that lies
// ahead of it by more than a minute counts as old.
func (s *Store) ClaimOutbox(ctx context.Context, worker string, age time.Duration, limit int, lease time.Duration) ([]Outbox, error) {
	var claimed []Outbox
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		claimed = nil
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		query := `update outbox set claimed_by = ?, claimed_until = ? where id in (
				select id from outbox where (at <= ? or at > ?) and (claimed_until is null or claimed_until <= ? or claimed_until > ?)
				order by at, id limit ?` + s.skipLocked() + `)
			returning id, subject, headers, body, at`
		args := []any{worker, at(now.Add(lease)), at(now.Add(-age)), at(now.Add(setBack)), at(now), at(now.Add(lease + setBack)), limit}
		return querier{query: tx.QueryContext}.rows(ctx, tx.Rebind(query), args, func(rows *sql.Rows) error {
			var o Outbox
			var when stamp
			err := rows.Scan(&o.ID, &o.Subject, (*blob)(&o.Headers), (*blob)(&o.Body), &when)
			o.At = when.Time
			claimed = append(claimed, o)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(claimed, func(a, b Outbox) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return claimed, nil
}

// DeleteOutbox deletes results that were published. Ids that are not there are no error.
func (s *Store) DeleteOutbox(ctx context.Context, ids []string) error {
	return deleteIDs(ctx, s, "outbox", ids)
}

// skipLocked keeps claims of several workers from waiting for each other. SQLite has one writer at a time.
func (s *Store) skipLocked() string {
	if s.postgres() {
		return " for update skip locked"
	}
	return ""
}

// deleteIDs deletes the rows of the given ids.
func deleteIDs[T any](ctx context.Context, s *Store, table string, ids []T) error {
	return execIn(ctx, s, `delete from `+table+` where id in (?)`, ids)
}

// maxIn bounds the parameters of one list in a statement.
const maxIn = 500

// execIn executes a statement for a list of values, which is the first of its parameters, in parts.
func execIn[T any](ctx context.Context, s *Store, query string, list []T, args ...any) error {
	for part := range slices.Chunk(list, maxIn) {
		query, args, err := sqlx.In(query, append([]any{part}, args...)...)
		if err != nil {
			return classify(ctx, err)
		}
		if _, err := s.exec(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

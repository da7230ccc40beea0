package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Counted is an event beyond the quota of dead letters: it was refused and answered, and no dead letter of it is written.
type Counted struct {
	Attempt string
	Tenant  string
	Source  string
	Code    string
	Reason  string
	At      time.Time
	Summary string // name of the summary that lists it; "" until there is one
}

const countedNames = `attempt, tenant, source, code, reason, at, summary`

func scanCounted(rows *sql.Rows) (Counted, error) {
	var c Counted
	var when stamp
	err := rows.Scan(&c.Attempt, &c.Tenant, &c.Source, &c.Code, &c.Reason, &when, &c.Summary)
	c.At = when.Time
	return c, err
}

// ClaimCounted hands the events of one summary to the caller, until its lease ends: at most n events of one tenant, source
// and code, once there are so many, or the oldest is of before the given time. Their summary is named after the first of
// them, and stays the same until [Store.DeleteCounted], whoever claims it.
func (s *Store) ClaimCounted(ctx context.Context, n int, before, now time.Time, lease time.Duration) ([]Counted, error) {
	var claimed []Counted
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		claimed = nil
		claim := func(query string, args ...any) error {
			return querier{query: tx.QueryContext}.rows(ctx, tx.Rebind(query), args, func(rows *sql.Rows) error {
				c, err := scanCounted(rows)
				claimed = append(claimed, c)
				return err
			})
		}
		var name string
		err := tx.QueryRowContext(ctx, tx.Rebind(`select summary from counted where summary <> '' and claimed_until <= ? order by summary limit 1`), at(now)).Scan(&name)
		if err == nil {
			return claim(`update counted set claimed_until = ? where summary = ? and claimed_until <= ? returning `+countedNames, at(now.Add(lease)), name, at(now))
		}
		var c Counted
		if errors.Is(err, sql.ErrNoRows) {
			err = tx.QueryRowContext(ctx, tx.Rebind(`select tenant, source, code from counted where summary = '' group by tenant, source, code
				having count(*) >= ? or min(at) < ? order by min(at) limit 1`), n, at(before)).Scan(&c.Tenant, &c.Source, &c.Code)
		}
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		const some = `from counted where summary = '' and tenant = ? and source = ? and code = ? order by at, attempt`
		if err := tx.QueryRowContext(ctx, tx.Rebind(`select attempt `+some+` limit 1`+s.skipLocked()), c.Tenant, c.Source, c.Code).Scan(&name); err != nil {
			if errors.Is(err, sql.ErrNoRows) { // another worker has them
				return nil
			}
			return err
		}
		return claim(`update counted set summary = ?, claimed_until = ? where attempt in (select attempt `+some+` limit ?`+s.skipLocked()+`) returning `+countedNames,
			name, at(now.Add(lease)), c.Tenant, c.Source, c.Code, n)
	})
	return claimed, err
}

// DeleteCounted forgets the events of a summary that is written.
func (s *Store) DeleteCounted(ctx context.Context, summary string) error {
	_, err := s.exec(ctx, `delete from counted where summary = ? and summary <> ''`, summary)
	return err
}

// CountedAfter lists counted events, in the order of their attempts and behind the given one.
func (s *Store) CountedAfter(ctx context.Context, attempt string, n int) ([]Counted, error) {
	var all []Counted
	err := querier{query: s.read.QueryContext}.rows(ctx, s.read.Rebind(`select `+countedNames+` from counted where attempt > ? order by attempt limit ?`),
		[]any{attempt, limit(n)}, func(rows *sql.Rows) error {
			c, err := scanCounted(rows)
			all = append(all, c)
			return err
		})
	return all, classify(ctx, err)
}

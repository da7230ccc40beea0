package store

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"
)

// ParkedLetter is the Reason of a row that is not an event that waits, but the finished dead letter of one that was rejected
// and answered: its stream refused it. Subject, Headers and Payload are those of the dead letter, and Key is its message id.
const ParkedLetter = "deadletter_refused"

// never is far enough in the future for a claim that does not end. Workers of earlier versions claim whatever is parked and
// not claimed, and would take a dead letter for an event.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// ParkLetters stores dead letters that their stream refused; their Reason becomes [ParkedLetter]. One whose key is there
// stays as it is.
func (s *Store) ParkLetters(ctx context.Context, letters []Parked) error {
	var c checker
	rows := sorted(letters, func(a, b *Parked) int { return cmp.Compare(a.Key, b.Key) })
	for i, r := range rows {
		letter := *r
		letter.Reason, rows[i] = ParkedLetter, &letter
		c.key("Parked", i, "Key", r.Key)
		c.text("Parked", i, "EventID", r.Tenant, r.Source, r.Subject, r.EventID)
	}
	if c.err != nil || len(rows) == 0 {
		return c.err
	}
	cols := parkedColumns(rows)
	cols.time("claimed_until", func(int) time.Time { return never })
	return s.insertAll(ctx, insertion{"parked", " on conflict (key) do nothing", cols})
}

// ClaimLetters hands parked dead letters that are due to the caller, longest due first. No other gets them until its lease
// ends, or [Store.ReleaseLetters] says otherwise. End it for good by [Store.DeleteParked].
func (s *Store) ClaimLetters(ctx context.Context, n int, now time.Time, lease time.Duration) ([]Parked, error) {
	var claimed []Parked
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		claimed = nil
		query := `update parked set not_before = ? where id in (
				select id from parked where reason = '` + ParkedLetter + `' and not_before <= ? order by not_before, id limit ?` + s.skipLocked() + `)
			returning ` + parkedNames
		args := []any{at(now.Add(lease)), at(now), n}
		return querier{query: tx.QueryContext}.rows(ctx, tx.Rebind(query), args, func(rows *sql.Rows) error {
			p, err := scanParked(rows)
			claimed = append(claimed, p)
			return err
		})
	})
	return claimed, err
}

// ReleaseLetters gives back claimed dead letters, by their ID; they are due at their NotBefore.
func (s *Store) ReleaseLetters(ctx context.Context, letters []Parked) error {
	if len(letters) == 0 {
		return nil
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		query := tx.Rebind(`update parked set not_before = ?, attempts = ? where id = ?`)
		for _, p := range sorted(letters, func(a, b *Parked) int { return cmp.Compare(a.ID, b.ID) }) {
			if _, err := tx.ExecContext(ctx, query, at(p.NotBefore), p.Attempts, p.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

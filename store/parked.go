package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Parked is an event that left its consumer to wait, with all that is needed to process it as if it had just arrived.
type Parked struct {
	ID          int64  // given by the store
	Key         string // what makes it the same event when it is parked twice; required
	Tenant      string
	Source      string
	Subject     string
	Headers     []byte // JSON
	Payload     []byte
	EventID     string
	StoredAt    time.Time // by which it is judged: when the broker stored it, or a trusted domain did so first
	Sequence    uint64    // in its stream
	Attempts    int
	Reason      string
	Delay       time.Duration // of an event from when it is stored, before it is tried again; not of what is claimed
	FirstFailed time.Time     // when it was parked first; that of an event is given by the store, and so is all below
	NotBefore   time.Time     // not to be tried again before
	Waited      time.Duration // in all, until the event was claimed
}

// Park stores events so that they may leave their consumer. One whose key is parked already stays as it is.
func (s *Store) Park(ctx context.Context, events []Parked) error {
	var c checker
	for i := range events {
		c.key("Parked", i, "Key", events[i].Key)
		c.text("Parked", i, "EventID", events[i].Tenant, events[i].Source, events[i].Subject, events[i].EventID, events[i].Reason)
	}
	if c.err != nil || len(events) == 0 {
		return c.err
	}
	rows := sorted(events, func(a, b *Parked) int { return cmp.Compare(a.Key, b.Key) })
	return s.update(ctx, func(tx *sqlx.Tx) error {
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		dated := make([]*Parked, len(rows))
		for i, p := range rows {
			row := *p
			row.FirstFailed, row.NotBefore = now, now.Add(p.Delay)
			dated[i] = &row
		}
		cols := parkedColumns(dated)
		cols.time("parked_at", func(int) time.Time { return now })
		return s.insert(ctx, tx, insertion{"parked", " on conflict (key) do nothing", cols})
	})
}

// insertAll inserts the rows in one transaction.
func (s *Store) insertAll(ctx context.Context, in insertion) error {
	return s.update(ctx, func(tx *sqlx.Tx) error { return s.insert(ctx, tx, in) })
}

func (s *Store) insert(ctx context.Context, tx *sqlx.Tx, in insertion) error {
	if in.cols.n == 0 {
		return nil
	}
	if s.postgres() {
		var args []any
		table := in.cols.numbered(&args)
		_, err := tx.ExecContext(ctx, `insert into `+in.table+` (`+in.cols.names()+`) select `+in.cols.names()+` from `+table+` r`+in.conflict, args...)
		return err
	}
	for i := range in.cols.n {
		if _, err := tx.ExecContext(ctx, in.cols.insert(in.table, in.conflict), in.cols.row(i)...); err != nil {
			return err
		}
	}
	return nil
}

func parkedColumns(rows []*Parked) *columns {
	c := newColumns(len(rows))
	c.text("key", func(i int) string { return rows[i].Key })
	c.text("tenant", func(i int) string { return rows[i].Tenant })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("subject", func(i int) string { return rows[i].Subject })
	c.blob("headers", func(i int) []byte { return rows[i].Headers })
	c.blob("payload", func(i int) []byte { return rows[i].Payload })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.time("stored_at", func(i int) time.Time { return rows[i].StoredAt })
	c.numbers("sequence", "bigint", func(i int) int64 { return int64(rows[i].Sequence) })
	c.numbers("attempts", "integer", func(i int) int64 { return int64(rows[i].Attempts) })
	c.time("first_failed", func(i int) time.Time { return rows[i].FirstFailed })
	c.text("reason", func(i int) string { return rows[i].Reason })
	c.time("not_before", func(i int) time.Time { return rows[i].NotBefore })
	return c
}

const parkedNames = `id, key, tenant, source, subject, headers, payload, event_id, stored_at, sequence, attempts, first_failed, reason, not_before`

// scanParked reads a row of [parkedNames], and of more columns.
func scanParked(rows *sql.Rows, more ...any) (Parked, error) {
	var p Parked
	var stored, first, notBefore stamp
	var sequence int64
	err := rows.Scan(append([]any{
		&p.ID, &p.Key, &p.Tenant, &p.Source, &p.Subject, (*blob)(&p.Headers), (*blob)(&p.Payload), &p.EventID,
		&stored, &sequence, &p.Attempts, &first, &p.Reason, &notBefore,
	}, more...)...)
	p.StoredAt, p.FirstFailed, p.NotBefore, p.Sequence = stored.Time, first.Time, notBefore.Time, uint64(sequence)
	return p, err
}

// ClaimParked hands the events that are due to the worker, longest due first, until its lease ends: no other gets them
// while it lasts, and one whose worker dies is free again afterwards. End a claim by Repark or DeleteParked. Dead letters are
// claimed by [Store.ClaimLetters].
//
// Times are those of the database's clock. Of the time in which an event was due and nobody claimed it, a minute counts as
// waited. Events that were parked more than a minute ahead of the clock are due.
func (s *Store) ClaimParked(ctx context.Context, worker string, limit int, lease time.Duration) ([]Parked, error) {
	var claimed []Parked
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		claimed = nil
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, tx.Rebind(`update parked set not_before = ?, parked_at = ? where parked_at > ?`), at(now), at(now), at(now.Add(setBack)))
		if err != nil {
			return err
		}
		query := `update parked set claimed_by = ?, claimed_until = ? where id in (
				select id from parked where reason <> '` + ParkedLetter + `' and not_before <= ?
					and (claimed_until is null or claimed_until <= ? or claimed_until > ?)
				order by not_before, id limit ?` + s.skipLocked() + `)
			returning ` + parkedNames + `, parked_at, waited`
		args := []any{worker, at(now.Add(lease)), at(now), at(now), at(now.Add(lease + setBack)), limit}
		return querier{query: tx.QueryContext}.rows(ctx, tx.Rebind(query), args, func(rows *sql.Rows) error {
			var parked stamp
			var waited int64
			p, err := scanParked(rows, &parked, &waited)
			p.Waited = time.Duration(waited)*time.Microsecond + waitedSince(parked.Time, p.NotBefore, now)
			claimed = append(claimed, p)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(claimed, func(a, b Parked) int { return cmp.Or(a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.ID, b.ID)) })
	return claimed, nil
}

// Repark ends the claim on events, by their ID, sets their Delay, Attempts and Reason anew, and keeps what they have Waited.
func (s *Store) Repark(ctx context.Context, events []Parked) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		query := tx.Rebind(`update parked set not_before = ?, parked_at = ?, waited = ?, attempts = ?, reason = ?, claimed_by = '', claimed_until = null
			where id = ?`)
		for _, p := range sorted(events, func(a, b *Parked) int { return cmp.Compare(a.ID, b.ID) }) {
			if _, err := tx.ExecContext(ctx, query, at(now.Add(p.Delay)), at(now), p.Waited.Microseconds(), p.Attempts, p.Reason, p.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteParked deletes events that are done. Ids that are not there are no error.
func (s *Store) DeleteParked(ctx context.Context, ids []int64) error {
	return deleteIDs(ctx, s, "parked", ids)
}

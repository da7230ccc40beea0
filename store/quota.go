package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Letter is a dead letter that is about to be written, for the quota that it counts on, and the verdict that it tells.
type Letter struct {
	ID       string    // its message id
	Attempt  string    // what it is of; the key of the row when it is counted only
	Origin   string    // the stored message that the attempt is at
	Verdict  []byte    // for [Store.Refusals]
	Judged   time.Time // when it was refused, by the clock that stamps what is stored
	Exempt   bool      // it counts on no quota, and is written
	Tenant   string    // "" for all tenants that nobody declared
	Source   string    // "" for all sources of a tenant that nobody declared
	Identity string    // the same for repeats of one failure by one sender; "" when the event proved nothing
	Code     string
	Reason   string
	Bytes    int64
	At       time.Time
}

// A LetterQuota bounds the dead letters of a tenant and source.
type LetterQuota struct{ Letters, Bytes int64 }

type quotaKey struct{ tenant, source string }

// quotaState is how much of a quota is used.
type quotaState struct {
	letters, bytes int64
	changed        bool
}

// CountLetters keeps the verdicts of dead letters, counts the letters on their quotas, and returns which of them are to be
// written. Those beyond are not: the events that proved nothing, and repeats of one that is written. They get a row instead, for
// [Store.ClaimCounted]. An event that was counted before, in one way or the other, stays so, and the verdict that was kept first
// stays.
func (s *Store) CountLetters(ctx context.Context, quota LetterQuota, letters []Letter) ([]bool, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	var keep []bool
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		c := counting{s: s, tx: tx, quota: quota, used: map[quotaKey]*quotaState{}, known: map[string]bool{}, identities: map[string]bool{}}
		if err := c.read(ctx, letters); err != nil {
			return err
		}
		keep = make([]bool, len(letters))
		for i := range letters {
			var err error
			if keep[i], err = c.keeps(ctx, &letters[i]); err != nil {
				return err
			}
		}
		return c.write(ctx, letters)
	})
	return keep, err
}

// A counting is the transaction of [Store.CountLetters].
type counting struct {
	s          *Store
	tx         *sqlx.Tx
	quota      LetterQuota
	used       map[quotaKey]*quotaState
	known      map[string]bool // attempts that were counted before: whether their dead letter is to be written
	identities map[string]bool // of letters of this transaction
	kept       []*Letter
	counted    []*Letter
}

// read locks the quotas, in one order for all workers, and finds what was counted before.
func (c *counting) read(ctx context.Context, letters []Letter) error {
	var keys []quotaKey
	for _, l := range letters {
		if !l.Exempt {
			keys = append(keys, quotaKey{l.Tenant, l.Source})
		}
	}
	slices.SortFunc(keys, func(a, b quotaKey) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.source, b.source))
	})
	for _, k := range slices.Compact(keys) {
		u, err := c.lock(ctx, k)
		if errors.Is(err, sql.ErrNoRows) {
			if _, err = c.tx.ExecContext(ctx, c.tx.Rebind(`insert into letter_quotas (tenant, source, letters, bytes) values (?, ?, 0, 0) on conflict do nothing`), k.tenant, k.source); err == nil {
				u, err = c.lock(ctx, k)
			}
		}
		if err != nil {
			return err
		}
		c.used[k] = u
	}
	cols := newColumns(len(letters))
	cols.number("n", "integer")
	cols.text("id", func(i int) string { return letters[i].ID })
	cols.text("attempt", func(i int) string { return letters[i].Attempt })
	q := querier{postgres: c.s.postgres(), query: c.tx.QueryContext}
	return q.each(ctx, `select i.attempt, coalesce(not r.counted, l.id is not null) from %s i left join refused r on r.attempt = i.attempt
			left join letters l on l.id = i.id left join counted c on c.attempt = i.attempt
		where r.attempt is not null or l.id is not null or c.attempt is not null`, cols, func(rows *sql.Rows) error {
		var attempt string
		var written bool
		err := rows.Scan(&attempt, &written)
		c.known[attempt] = written
		return err
	})
}

func (c *counting) lock(ctx context.Context, k quotaKey) (*quotaState, error) {
	query := `select letters, bytes from letter_quotas where tenant = ? and source = ?`
	if c.s.postgres() {
		query += ` for update`
	}
	var u quotaState
	return &u, c.tx.QueryRowContext(ctx, c.tx.Rebind(query), k.tenant, k.source).Scan(&u.letters, &u.bytes)
}

// keeps decides whether a dead letter is written.
func (c *counting) keeps(ctx context.Context, l *Letter) (bool, error) {
	if written, ok := c.known[l.Attempt]; ok {
		return written, nil
	}
	if l.Exempt {
		c.known[l.Attempt] = true
		return true, nil
	}
	u := c.used[quotaKey{l.Tenant, l.Source}]
	keep := u.letters < c.quota.Letters && u.bytes+l.Bytes <= c.quota.Bytes
	if !keep && l.Identity != "" {
		repeat, err := c.repeats(ctx, l)
		if err != nil {
			return false, err
		}
		keep = !repeat
	}
	c.known[l.Attempt] = keep
	if !keep {
		c.counted = append(c.counted, l)
		return false, nil
	}
	u.letters, u.bytes, u.changed = u.letters+1, u.bytes+l.Bytes, true
	c.identities[l.Identity] = true
	c.kept = append(c.kept, l)
	return true, nil
}

// repeats reports whether another dead letter says the same of the same sender.
func (c *counting) repeats(ctx context.Context, l *Letter) (bool, error) {
	if c.identities[l.Identity] {
		return true, nil
	}
	var n int
	err := c.tx.QueryRowContext(ctx, c.tx.Rebind(`select count(*) from (select 1 as one from letters where identity = ? and identity <> '' limit 1) l`), l.Identity).Scan(&n)
	return n > 0, err
}

func (c *counting) write(ctx context.Context, letters []Letter) error {
	for k, u := range c.used {
		if !u.changed {
			continue
		}
		if _, err := c.tx.ExecContext(ctx, c.tx.Rebind(`update letter_quotas set letters = ?, bytes = ? where tenant = ? and source = ?`), u.letters, u.bytes, k.tenant, k.source); err != nil {
			return err
		}
	}
	const idempotent = " on conflict do nothing"
	if err := c.s.insert(ctx, c.tx, insertion{"refused", idempotent, c.refusedColumns(letters)}); err != nil {
		return err
	}
	if err := c.s.insert(ctx, c.tx, insertion{"letters", idempotent, letterColumns(c.kept)}); err != nil {
		return err
	}
	return c.s.insert(ctx, c.tx, insertion{"counted", idempotent, countedColumns(c.counted)})
}

// refusedColumns are sorted, so that two workers that refuse the same events wait for each other.
func (c *counting) refusedColumns(letters []Letter) *columns {
	rows := sorted(letters, func(a, b *Letter) int { return cmp.Compare(a.Attempt, b.Attempt) })
	cols := newColumns(len(rows))
	cols.text("attempt", func(i int) string { return rows[i].Attempt })
	cols.text("origin", func(i int) string { return rows[i].Origin })
	cols.bool("counted", func(i int) bool { return !c.known[rows[i].Attempt] })
	cols.blob("verdict", func(i int) []byte { return rows[i].Verdict })
	cols.time("at", func(i int) time.Time { return rows[i].Judged })
	return cols
}

func letterColumns(rows []*Letter) *columns {
	c := newColumns(len(rows))
	c.text("id", func(i int) string { return rows[i].ID })
	c.text("tenant", func(i int) string { return rows[i].Tenant })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("identity", func(i int) string { return rows[i].Identity })
	c.numbers("bytes", "bigint", func(i int) int64 { return rows[i].Bytes })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

func countedColumns(rows []*Letter) *columns {
	c := newColumns(len(rows))
	c.text("attempt", func(i int) string { return rows[i].Attempt })
	c.text("tenant", func(i int) string { return rows[i].Tenant })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("code", func(i int) string { return rows[i].Code })
	c.text("reason", func(i int) string { return rows[i].Reason })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

// UncountLetters takes dead letters off their quotas, by their message ids: somebody has dealt with them. Those that are not
// counted are no error.
func (s *Store) UncountLetters(ctx context.Context, ids []string) error {
	for part := range slices.Chunk(ids, maxIn) {
		query, args, err := sqlx.In(`delete from letters where id in (?) returning tenant, source, bytes`, part)
		if err != nil {
			return classify(ctx, err)
		}
		if _, err := s.uncount(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// UncountLettersBefore takes the dead letters from before a time off their quotas: they are not in their stream any more. It
// returns how many they were, n at most.
func (s *Store) UncountLettersBefore(ctx context.Context, t time.Time, n int) (int, error) {
	return s.uncount(ctx, `delete from letters where id in (select id from letters where at < ? order by at limit ?) returning tenant, source, bytes`, at(t), n)
}

func (s *Store) uncount(ctx context.Context, query string, args ...any) (n int, err error) {
	err = s.update(ctx, func(tx *sqlx.Tx) error {
		n = 0
		less := map[quotaKey]*quotaState{}
		err := querier{query: tx.QueryContext}.rows(ctx, tx.Rebind(query), args, func(rows *sql.Rows) error {
			var k quotaKey
			var bytes int64
			err := rows.Scan(&k.tenant, &k.source, &bytes)
			if less[k] == nil {
				less[k] = &quotaState{}
			}
			less[k].letters++
			less[k].bytes += bytes
			n++
			return err
		})
		if err != nil {
			return err
		}
		for k, u := range less {
			if _, err := tx.ExecContext(ctx, tx.Rebind(`update letter_quotas set letters = letters - ?, bytes = bytes - ? where tenant = ? and source = ?`), u.letters, u.bytes, k.tenant, k.source); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

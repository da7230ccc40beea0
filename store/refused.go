package store

import (
	"context"
	"database/sql"
)

// A Refusal is the verdict on an attempt at a stored message that was refused.
type Refusal struct {
	Verdict []byte
	Counted bool // it has no dead letter of its own
}

// Refusals returns which of the attempts were refused, by their names. [Store.CountLetters] keeps them.
func (s *Store) Refusals(ctx context.Context, attempts []string) (map[string]Refusal, error) {
	if len(attempts) == 0 {
		return nil, nil
	}
	cols := newColumns(len(attempts))
	cols.number("n", "integer")
	cols.text("attempt", func(i int) string { return attempts[i] })
	q := querier{postgres: s.postgres(), query: s.read.QueryContext}
	found := map[string]Refusal{}
	err := q.each(ctx, `select i.attempt, r.counted, r.verdict from %s i `+q.join("refused", "r", "r.attempt = i.attempt"), cols, func(rows *sql.Rows) error {
		var attempt string
		var r Refusal
		err := rows.Scan(&attempt, &r.Counted, (*blob)(&r.Verdict))
		found[attempt] = r
		return err
	})
	return found, classify(ctx, err)
}

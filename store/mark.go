package store

import (
	"context"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Mark is how far a stream of the broker was when a worker last looked.
type Mark struct {
	Stream  string
	Created time.Time // of the stream, in microseconds
	Last    uint64    // the highest sequence that it had given out
	SeenAt  time.Time // by the database's clock; given by the store
	// AcceptedAt is when an operator last accepted a gap between the stream and the database, by the database's clock; zero:
	// never. It is given by the store.
	AcceptedAt time.Time
}

// Marks returns the marks of all streams, in the order of their names.
func (s *Store) Marks(ctx context.Context) ([]Mark, error) {
	var rows []struct {
		Stream   string
		Created  stamp
		Last     int64 `db:"last_sequence"`
		SeenAt   stamp `db:"seen_at"`
		Accepted stamp `db:"accepted_at"`
	}
	err := s.selectAll(ctx, &rows, `select stream, created, last_sequence, seen_at, accepted_at from stream_marks order by stream`)
	all := make([]Mark, len(rows))
	for i, r := range rows {
		all[i] = Mark{r.Stream, r.Created.Time, uint64(max(r.Last, 0)), r.SeenAt.Time, r.Accepted.Time} //nolint:gosec // not negative
	}
	return all, err
}

// Mark writes marks. One is never lowered, and that of a stream which was created at another time stays as it is, as it tells
// of what was lost. When it was seen is always written: a database that takes no writes fails here, as health checks want.
// The marks must be in the order of their names, so that workers who write them at once wait for each other and never both.
func (s *Store) Mark(ctx context.Context, marks []Mark) error {
	if len(marks) == 0 {
		return nil
	}
	row := `(?, ?, ?, ` + s.present() + `)`
	args := make([]any, 0, 3*len(marks))
	for _, m := range marks {
		args = append(args, m.Stream, at(m.Created), int64(m.Last)) //nolint:gosec // a broker does not get as far
	}
	_, err := s.exec(ctx, `insert into stream_marks (stream, created, last_sequence, seen_at)
		values `+strings.Repeat(row+`, `, len(marks)-1)+row+`
		on conflict (stream) do update set seen_at = excluded.seen_at, last_sequence = case
		when excluded.created = stream_marks.created and excluded.last_sequence > stream_marks.last_sequence
		then excluded.last_sequence else stream_marks.last_sequence end`, args...)
	return err
}

// AcceptMarks puts marks in the place of those that there are, as an operator accepts that the streams are where they are, and
// records who did so. Marks of other streams stay. The marks must be in the order of their names.
func (s *Store) AcceptMarks(ctx context.Context, marks []Mark, entry AuditEntry) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		query := tx.Rebind(`insert into stream_marks (stream, created, last_sequence, seen_at, accepted_at)
			values (?, ?, ?, ` + s.present() + `, ` + s.present() + `) on conflict (stream) do update set created = excluded.created,
			last_sequence = excluded.last_sequence, seen_at = excluded.seen_at, accepted_at = excluded.accepted_at`)
		for _, m := range marks {
			if _, err := tx.ExecContext(ctx, query, m.Stream, at(m.Created), int64(m.Last)); err != nil { //nolint:gosec // a broker does not get as far
				return err
			}
		}
		return audit(ctx, tx, entry)
	})
}

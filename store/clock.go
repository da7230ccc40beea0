package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// Claims, leases and waits go by the database's clock, which all workers share, and by no worker's own: that of the
// PostgreSQL server, or of the host on which the SQLite file lies. It may be set, too: by an operator, or because the database
// moved to another host.
const (
	// overdue is how much longer than was intended an event may have waited before it is tried again, as far as its wait
	// counts. A clock that is set forward uses up no more than this of what an event may wait.
	overdue = time.Minute
	// setBack is how far ahead a time may lie that was the present a moment ago. What lies farther ahead was written before
	// the clock was set back, and is not waited for.
	setBack = time.Minute
)

// Now returns the time by the database's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	now, err := s.clock(ctx, s.read)
	return now, classify(ctx, err)
}

// present is the time by the database's clock, as an expression.
func (s *Store) present() string {
	if s.postgres() {
		return `clock_timestamp()`
	}
	return `cast(unixepoch('subsec') * 1000000 as integer)`
}

func (s *Store) clock(ctx context.Context, q sqlx.QueryerContext) (time.Time, error) {
	var now stamp
	if err := sqlx.GetContext(ctx, q, &now, `select `+s.present()); err != nil {
		return time.Time{}, err
	}
	if s.moved != nil {
		return s.moved(now.Time), nil
	}
	return now.Time, nil
}

// waitedSince is how long an event has waited that was parked at a time, until due; the zero time is "not known", of a row
// that an older version wrote.
func waitedSince(parked, due, now time.Time) time.Duration {
	if parked.IsZero() {
		parked = due
	}
	return max(0, min(now.Sub(parked), max(0, due.Sub(parked))+overdue))
}

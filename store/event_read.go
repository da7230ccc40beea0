package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// eventColumns are the columns of a ledger row e.
const eventColumns = `e.tenant_id, e.source, e.event_id, e.scope, e.credential, e.payload_hash, e.outcome, e.status, e.user_id, e.result,
	e.result_headers, e.attempt, e.policies, e.door, e.origin, e.stored_at, e.at`

// scanEvent reads a row of eventColumns, after the given columns before it.
func scanEvent(rows *sql.Rows, before ...any) (Event, error) {
	var e Event
	var user sql.NullString
	var policies list
	var stored, done stamp
	err := rows.Scan(append(before, &e.TenantID, &e.Source, &e.EventID, &e.Scope, &e.Credential, (*blob)(&e.PayloadHash), &e.Outcome, &e.Status,
		&user, (*blob)(&e.Result), (*blob)(&e.ResultHeaders), &e.Attempt, &policies, &e.Door, &e.Origin, &stored, &done)...)
	e.UserID, e.Policies, e.StoredAt, e.At = user.String, policies, stored.Time, done.Time
	return e, err
}

// Event returns a ledger row, or ErrNotFound.
func (s *Store) Event(ctx context.Context, key EventKey) (Event, error) {
	var w where
	w.uuid("e.tenant_id = ?", key.TenantID)
	w.add("e.source = ?", key.Source)
	w.add("e.event_id = ?", key.EventID)
	w.add("e.scope = ?", key.Scope)
	events, err := s.events(ctx, w, "e.event_id", 1)
	if err != nil {
		return Event{}, err
	}
	if len(events) == 0 {
		return Event{}, fmt.Errorf("event %q of source %s in tenant %s: %w", key.EventID, key.Source, key.TenantID, ErrNotFound)
	}
	return events[0], nil
}

// Events lists ledger rows.
func (s *Store) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	var w where
	if f.Tenant != "" {
		w.uuid("e.tenant_id = ?", f.Tenant)
	}
	w.eq("e.source", f.Source)
	w.eq("e.event_id", f.EventID)
	w.eq("e.credential", f.Credential)
	w.eq("e.outcome", f.Outcome)
	if !f.Since.IsZero() {
		w.add("e.at >= ?", at(f.Since))
	}
	const byKey = "e.tenant_id, e.source, e.event_id, e.scope"
	order := byKey
	switch {
	case f.Newest:
		order = "e.at desc, " + byKey
	case f.After != (EventKey{}):
		w.add("("+byKey+") > (?, ?, ?, ?)", strings.ToLower(f.After.TenantID), f.After.Source, f.After.EventID, f.After.Scope)
	}
	return s.events(ctx, w, order, limit(f.Limit))
}

func (s *Store) events(ctx context.Context, w where, order string, n int) ([]Event, error) {
	if w.bad {
		return nil, nil
	}
	var events []Event
	q := querier{postgres: s.postgres(), query: s.read.QueryContext}
	query := `select ` + eventColumns + ` from events e` + w.String() + ` order by ` + order + ` limit ?`
	err := q.rows(ctx, s.read.Rebind(query), append(w.args, n), func(rows *sql.Rows) error {
		e, err := scanEvent(rows)
		events = append(events, e)
		return err
	})
	return events, classify(ctx, err)
}

// Counts counts rows, which takes a while when there are millions.
func (s *Store) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	var oldest stamp
	err := s.read.QueryRowContext(ctx, `select (select count(*) from tenants where removed_at is null), (select count(*) from users),
		(select count(*) from identities), (select count(*) from events), (select count(*) from used_ids),
		(select count(*) from outbox), (select count(*) from parked), (select count(*) from in_flight_events),
		(select count(*) from dead_letters where state = 'open'), (select min(at) from outbox)`).Scan(&c.Tenants, &c.Users,
		&c.Identities, &c.Events, &c.UsedIDs, &c.Outbox, &c.Parked, &c.InFlight, &c.OpenDeadLetters, &oldest)
	c.OldestOutbox = oldest.Time
	return c, classify(ctx, err)
}

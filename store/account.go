package store

import (
	"context"
	"time"
)

// A Waiting is a parked event, without what it says.
type Waiting struct {
	ID      int64  `db:"id"`
	Key     string `db:"key"` // as in [Parked]
	Tenant  string `db:"tenant"`
	Source  string `db:"source"`
	EventID string `db:"event_id"`
}

// ParkedAfter lists parked events, claimed ones included, in the order of their ids and behind the given one.
func (s *Store) ParkedAfter(ctx context.Context, id int64, n int) ([]Waiting, error) {
	var rows []Waiting
	err := s.selectAll(ctx, &rows, `select id, key, tenant, source, event_id from parked where id > ? order by id limit ?`, id, limit(n))
	return rows, err
}

// IsParked reports whether an event is parked, by its key; or by the key that it had in an earlier version, and the time at which it
// was stored, as that key may be another event's too.
func (s *Store) IsParked(ctx context.Context, key, former string, stored time.Time) (bool, error) {
	var found []string
	err := s.selectAll(ctx, &found, `select key from parked where key = ? or (key = ? and stored_at = ?)`, key, former, at(stored))
	return len(found) > 0, err
}

// OutboxAfter lists the ids of results whose publication is owed, claimed ones included, in order and behind the given one.
func (s *Store) OutboxAfter(ctx context.Context, id string, n int) ([]string, error) {
	var ids []string
	err := s.selectAll(ctx, &ids, `select id from outbox where id > ? order by id limit ?`, id, limit(n))
	return ids, err
}

// RepeatsAfter lists repeats that were noted at or after since, in the order of their origins and behind the given one.
func (s *Store) RepeatsAfter(ctx context.Context, since time.Time, origin string, n int) ([]Repeat, error) {
	var rows []struct {
		Origin   string `db:"origin"`
		TenantID string `db:"tenant_id"`
		Source   string `db:"source"`
		EventID  string `db:"event_id"`
		Scope    string `db:"scope"`
		At       stamp  `db:"at"`
	}
	var w where
	w.add("origin > ?", origin)
	if !since.IsZero() {
		w.add("at >= ?", at(since))
	}
	err := s.selectAll(ctx, &rows, `select origin, tenant_id, source, event_id, scope, at from repeats`+w.String()+` order by origin limit ?`, append(w.args, limit(n))...)
	repeats := make([]Repeat, len(rows))
	for i, r := range rows {
		repeats[i] = Repeat{Origin: r.Origin, TenantID: r.TenantID, Source: r.Source, EventID: r.EventID, Scope: r.Scope, At: r.At.Time}
	}
	return repeats, err
}

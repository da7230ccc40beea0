package store

import (
	"context"
	"time"
)

// An InFlight is an in-flight marker: the event that a worker processes. One that outlives its worker names the event that
// killed it.
type InFlight struct {
	Worker   string // stable over restarts
	Boot     string // id of the worker's run
	Stream   string
	Sequence uint64
	Tenant   string
	Source   string
	EventID  string
	At       time.Time
}

// SetInFlight sets a marker, in place of an earlier one of the same worker, stream and sequence.
func (s *Store) SetInFlight(ctx context.Context, b InFlight) error {
	_, err := s.exec(ctx, `insert into in_flight (worker, stream, sequence, boot, tenant, source, event_id, at)
		values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (worker, stream, sequence) do update set boot = excluded.boot,
		tenant = excluded.tenant, source = excluded.source, event_id = excluded.event_id, at = excluded.at`,
		b.Worker, b.Stream, int64(b.Sequence), b.Boot, b.Tenant, b.Source, b.EventID, at(b.At))
	return err
}

// ClearInFlight clears a marker; that there is none is no error.
func (s *Store) ClearInFlight(ctx context.Context, worker, stream string, sequence uint64) error {
	_, err := s.exec(ctx, `delete from in_flight where worker = ? and stream = ? and sequence = ?`, worker, stream, int64(sequence))
	return err
}

// InFlight lists the markers of a worker, or of all when worker is "".
func (s *Store) InFlight(ctx context.Context, worker string) ([]InFlight, error) {
	var w where
	w.eq("worker", worker)
	var rows []struct {
		Worker, Stream, Boot, Tenant, Source string
		Sequence                             int64
		EventID                              string `db:"event_id"`
		At                                   stamp
	}
	err := s.selectAll(ctx, &rows, `select worker, stream, sequence, boot, tenant, source, event_id, at from in_flight`+w.String()+
		` order by worker, stream, sequence`, w.args...)
	all := make([]InFlight, len(rows))
	for i, r := range rows {
		all[i] = InFlight{r.Worker, r.Boot, r.Stream, uint64(r.Sequence), r.Tenant, r.Source, r.EventID, r.At.Time}
	}
	return all, err
}

package store

import (
	"cmp"
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// An InFlight is an in-flight marker: one run of a worker has a stored message in hand. One that outlives its run is evidence
// that the event may have killed it.
type InFlight struct {
	Event   string // names the stored message; with Run the key of the marker
	Run     string // id of the worker's run
	Worker  string // name of the worker
	Alone   bool   // the run processed this event and no other
	Died    bool   // the run is known to have died with the event in hand
	Tenant  string
	Source  string
	EventID string
	At      time.Time // when the run was last heard of
}

// MarkInFlight sets markers, of which no two have the same event and run. A marker that is there already takes the new At,
// and keeps that it was Alone or Died.
func (s *Store) MarkInFlight(ctx context.Context, markers []InFlight) error {
	var c checker
	for i := range markers {
		c.key("InFlight", i, "Event", markers[i].Event)
		c.text("InFlight", i, "EventID", markers[i].Run, markers[i].Worker, markers[i].Tenant, markers[i].Source, markers[i].EventID)
	}
	if c.err != nil || len(markers) == 0 {
		return c.err
	}
	rows := sorted(markers, func(a, b *InFlight) int { return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Run, b.Run)) })
	cols := newColumns(len(rows))
	cols.text("event", func(i int) string { return rows[i].Event })
	cols.text("run", func(i int) string { return rows[i].Run })
	cols.text("worker", func(i int) string { return rows[i].Worker })
	cols.bool("alone", func(i int) bool { return rows[i].Alone })
	cols.bool("died", func(i int) bool { return rows[i].Died })
	cols.text("tenant", func(i int) string { return rows[i].Tenant })
	cols.text("source", func(i int) string { return rows[i].Source })
	cols.text("event_id", func(i int) string { return rows[i].EventID })
	cols.time("at", func(i int) time.Time { return rows[i].At })
	return s.insertAll(ctx, insertion{"in_flight_events", ` on conflict (event, run) do update set at = excluded.at,
		alone = in_flight_events.alone or excluded.alone, died = in_flight_events.died or excluded.died`, cols})
}

// ClearInFlight clears the markers of events: those of one run, or of all when run is "". That there are none is no error.
func (s *Store) ClearInFlight(ctx context.Context, events []string, run string) error {
	return execIn(ctx, s, `delete from in_flight_events where event in (?) and (run = ? or ? = '')`, events, run, run)
}

// KeepInFlight notes on the markers of a run that it was heard of at a time.
func (s *Store) KeepInFlight(ctx context.Context, run string, now time.Time) error {
	_, err := s.exec(ctx, `update in_flight_events set at = ? where run = ?`, at(now), run)
	return err
}

// PruneInFlight deletes the markers of runs that were last heard of before a time, and returns how many there were.
func (s *Store) PruneInFlight(ctx context.Context, before time.Time) (int64, error) {
	return s.exec(ctx, `delete from in_flight_events where at < ?`, at(before))
}

// InFlight lists the markers of the given events; those of all events when none is given.
func (s *Store) InFlight(ctx context.Context, events ...string) ([]InFlight, error) {
	var all []InFlight
	for start := 0; start == 0 || start < len(events); start += maxIn {
		query, args := `select event, run, worker, alone, died, tenant, source, event_id, at from in_flight_events`, []any(nil)
		if len(events) > 0 {
			var err error
			if query, args, err = sqlx.In(query+` where event in (?)`, events[start:min(start+maxIn, len(events))]); err != nil {
				return nil, classify(ctx, err)
			}
		}
		var rows []struct {
			Event, Run, Worker, Tenant, Source string
			Alone, Died                        bool
			EventID                            string `db:"event_id"`
			At                                 stamp
		}
		if err := s.selectAll(ctx, &rows, query+` order by event, run`, args...); err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, InFlight{r.Event, r.Run, r.Worker, r.Alone, r.Died, r.Tenant, r.Source, r.EventID, r.At.Time})
		}
	}
	return all, nil
}

package store

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// The states of a dead letter.
const (
	DeadLetterOpen      = "open"
	DeadLetterReplayed  = "replayed"
	DeadLetterDiscarded = "discarded"
)

// A DeadLetter is the state of one entry of the dead-letter stream; the entry itself stays in the stream.
type DeadLetter struct {
	Sequence    uint64 // in the dead-letter stream; the key
	Tenant      string
	Source      string
	EventID     string
	Code        string
	Reason      string
	Fingerprint string
	State       string
	Who         string // who gave it this state
	Why         string
	Campaign    string
	Outcome     string // what its replay came to: an outcome, or the code of its second failure
	Parent      uint64 // sequence of the dead letter whose replay this one comes from, or 0
	Attempts    int    // replays so far
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// A DeadLetterFilter selects dead letters in the order of their sequences.
type DeadLetterFilter struct {
	Tenant, Source, Code, Fingerprint, State, Campaign string // "" means all
	Limit                                              int    // 0 means DefaultLimit
	After                                              uint64 // sequence of the last one of the page before
}

const deadLetterNames = `sequence, tenant, source, event_id, code, reason, fingerprint, state, who, why, campaign, outcome, parent, attempts, created_at, updated_at`

// UpsertDeadLetters stores the state of entries. One that is known keeps its CreatedAt and takes over all else, unless it
// was replayed: that is final, whoever else had it in hand at the same time.
func (s *Store) UpsertDeadLetters(ctx context.Context, rows []DeadLetter) error {
	if len(rows) == 0 {
		return nil
	}
	const conflict = ` on conflict (sequence) do update set tenant = excluded.tenant, source = excluded.source,
		event_id = excluded.event_id, code = excluded.code, reason = excluded.reason, fingerprint = excluded.fingerprint,
		state = excluded.state, who = excluded.who, why = excluded.why, campaign = excluded.campaign, outcome = excluded.outcome, parent = excluded.parent,
		attempts = excluded.attempts, updated_at = excluded.updated_at where dead_letters.state <> '` + DeadLetterReplayed + `'`
	cols := deadLetterColumns(sorted(rows, func(a, b *DeadLetter) int { return cmp.Compare(a.Sequence, b.Sequence) }))
	return s.insertAll(ctx, insertion{"dead_letters", conflict, cols})
}

func deadLetterColumns(rows []*DeadLetter) *columns {
	c := newColumns(len(rows))
	c.numbers("sequence", "bigint", func(i int) int64 { return int64(rows[i].Sequence) })
	c.text("tenant", func(i int) string { return rows[i].Tenant })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.text("code", func(i int) string { return rows[i].Code })
	c.text("reason", func(i int) string { return rows[i].Reason })
	c.text("fingerprint", func(i int) string { return rows[i].Fingerprint })
	c.text("state", func(i int) string { return rows[i].State })
	c.text("who", func(i int) string { return rows[i].Who })
	c.text("why", func(i int) string { return rows[i].Why })
	c.text("campaign", func(i int) string { return rows[i].Campaign })
	c.text("outcome", func(i int) string { return rows[i].Outcome })
	c.numbers("parent", "bigint", func(i int) int64 { return int64(rows[i].Parent) })
	c.numbers("attempts", "integer", func(i int) int64 { return int64(rows[i].Attempts) })
	c.time("created_at", func(i int) time.Time { return rows[i].CreatedAt })
	c.time("updated_at", func(i int) time.Time { return rows[i].UpdatedAt })
	return c
}

// DeadLetter returns the state of one entry, or ErrNotFound.
func (s *Store) DeadLetter(ctx context.Context, sequence uint64) (DeadLetter, error) {
	var w where
	w.add("sequence = ?", int64(sequence))
	all, err := s.deadLetters(ctx, w, 1)
	if err != nil {
		return DeadLetter{}, err
	}
	if len(all) == 0 {
		return DeadLetter{}, fmt.Errorf("dead letter %d: %w", sequence, ErrNotFound)
	}
	return all[0], nil
}

// DeadLetters lists the states of entries.
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error) {
	var w where
	w.eq("tenant", f.Tenant)
	w.eq("source", f.Source)
	w.eq("code", f.Code)
	w.eq("fingerprint", f.Fingerprint)
	w.eq("state", f.State)
	w.eq("campaign", f.Campaign)
	if f.After > 0 {
		w.add("sequence > ?", int64(f.After))
	}
	return s.deadLetters(ctx, w, limit(f.Limit))
}

func (s *Store) deadLetters(ctx context.Context, w where, n int) ([]DeadLetter, error) {
	var rows []struct {
		Sequence                                         int64
		Tenant, Source, Code, Reason, Fingerprint, State string
		Who, Why, Campaign, Outcome                      string
		EventID                                          string `db:"event_id"`
		Parent                                           int64
		Attempts                                         int
		CreatedAt                                        stamp `db:"created_at"`
		UpdatedAt                                        stamp `db:"updated_at"`
	}
	err := s.selectAll(ctx, &rows, `select `+deadLetterNames+` from dead_letters`+w.String()+` order by sequence limit ?`, append(w.args, n)...)
	all := make([]DeadLetter, len(rows))
	for i, r := range rows {
		all[i] = DeadLetter{
			uint64(r.Sequence), r.Tenant, r.Source, r.EventID, r.Code, r.Reason, r.Fingerprint, r.State, r.Who, r.Why,
			r.Campaign, r.Outcome, uint64(r.Parent), r.Attempts, r.CreatedAt.Time, r.UpdatedAt.Time,
		}
	}
	return all, err
}

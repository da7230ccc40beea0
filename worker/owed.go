package worker

import (
	"context"
	"fmt"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// What a stream refuses is owed: results lie in the outbox, and dead letters are parked as they are to be written. Their
// events are done with. The ids stay the same, so that what a worker publishes twice, because it was killed in between, is
// one result and one dead letter.

// oweLetters parks the dead letters of rejected events that their stream refused. Headers and body are sealed, as those of
// all that is parked.
func (w *Worker) oweLetters(ctx context.Context, letters []record.Outgoing, of []*ending) {
	rows := make([]store.Parked, 0, len(letters))
	for i, e := range of {
		row, err := w.owedLetter(e.event, letters[i])
		if err != nil {
			e.failed = err
			w.log.Error("dead letter not sealed; the event stays where it is", "stream_seq", e.origin.Sequence, "error", err)
			continue
		}
		rows = append(rows, row)
	}
	err := w.store.ParkLetters(ctx, rows)
	if err != nil {
		w.log.Warn("dead letters not parked; their events stay where they are", "count", len(rows), "error", err)
	}
	for _, e := range of {
		if e.failed == nil {
			e.failed, e.owed = err, err == nil
		}
	}
}

func (w *Worker) owedLetter(e *event, letter record.Outgoing) (store.Parked, error) {
	headers, body, err := w.seal(letter.Header, letter.Data)
	if err != nil {
		return store.Parked{}, fmt.Errorf("seal a dead letter: %w", err)
	}
	now := w.now()
	return store.Parked{
		Key: letter.ID, Tenant: e.env.Tenant, Source: e.env.Source, Subject: letter.Subject, Headers: headers, Payload: body,
		EventID: e.env.EventID, StoredAt: e.env.StoredAt, Sequence: e.origin.Sequence, Attempts: 1, FirstFailed: now, NotBefore: now,
	}, nil
}

// openLetter makes a parked row the dead letter that it was.
func (w *Worker) openLetter(row store.Parked) (record.Outgoing, error) {
	header, body, err := w.unseal(row)
	return record.Outgoing{Subject: row.Subject, ID: row.Key, Header: header, Data: body}, err
}

// letterLooks is how many times longer than for parked events a worker waits between looks at the dead letters that are owed.
const letterLooks = 10

// relayLetters publishes the dead letters that are owed until ctx ends.
func (w *Worker) relayLetters(ctx context.Context) {
	for range clock.Ticks(ctx, letterLooks*w.cfg.RelayInterval) {
		for !w.database.Open() && w.letters.Due() && w.relaySomeLetters(ctx) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// relaySomeLetters reports whether there are more and their stream takes them. While it refuses, one is enough to ask it.
func (w *Worker) relaySomeLetters(ctx context.Context) bool {
	n := 1
	if w.letters.Open() {
		n = maxClaim
	}
	rows, err := w.store.ClaimLetters(ctx, n, w.now(), parkLease)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("parked dead letters not read", "error", err)
		}
		return false
	}
	var letters []record.Outgoing
	var of []store.Parked
	for _, row := range rows {
		letter, err := w.openLetter(row)
		if err != nil {
			w.log.Error("parked dead letter cannot be opened; it stays, and is tried again", "id", row.ID, "error", err)
			continue
		}
		letters, of = append(letters, letter), append(of, row)
	}
	var done []int64
	var back []store.Parked
	for i, err := range w.letters.Publish(ctx, letters) {
		row := of[i]
		if err == nil {
			done = append(done, row.ID)
			continue
		}
		row.NotBefore = w.now()
		if w.letters.Open() { // others are stored, so this one waits its turn
			row.Attempts++
			row.NotBefore = row.NotBefore.Add(clock.Backoff(row.Attempts, 0))
		}
		back = append(back, row)
	}
	unclaimed := context.WithoutCancel(ctx)
	if err := w.store.ReleaseLetters(unclaimed, back); err != nil {
		w.log.Warn("parked dead letters not given back; they are tried again when the claim ends", "count", len(back), "error", err)
	}
	if len(done) > 0 {
		if err := w.store.DeleteParked(unclaimed, done); err != nil {
			w.log.Warn("parked dead letters not removed; they are published again under the same ids", "count", len(done), "error", err)
		}
	}
	return len(rows) == n && len(done) > 0
}

// oweResults puts results that their stream refused into the outbox, from where the sweep publishes them.
func (w *Worker) oweResults(ctx context.Context, results []record.Outgoing, of []*ending) {
	var owed []record.Outgoing
	var events []*ending
	for i, e := range of {
		if e.reply == nil { // that of a request is there since its transaction
			owed, events = append(owed, results[i]), append(events, e)
		}
	}
	w.owe(ctx, owed, events, "results neither published nor kept; their events are processed again")
}

// owe puts messages into the outbox. When that is no use either, the log says lost, and their events have failed.
func (w *Worker) owe(ctx context.Context, messages []record.Outgoing, of []*ending, lost string) {
	if len(messages) == 0 {
		return
	}
	rows := make([]store.Outbox, len(messages))
	for i, o := range messages {
		rows[i] = store.Outbox{ID: o.ID, Subject: o.Subject, Headers: record.Marshal(o.Header), Body: o.Data, At: w.now()}
	}
	err := w.store.Owe(ctx, rows)
	if err != nil {
		w.log.Warn(lost, "count", len(rows), "error", err)
	}
	for _, e := range of {
		e.failed = err
	}
}

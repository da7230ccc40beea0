package worker

import (
	"context"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A deployment may have an archive: a stream that keeps each event which had an effect, sealed, so that a database which was
// restored from a backup can be given the effects since. Rejected events are not in it: they had none, are dead letters for
// longer, and a flood of them would push the others out.
//
// An event is archived once it is committed, and not acknowledged before. What the archive refuses is owed by the outbox, as
// results are, so that an archive which is full or away stops nobody, and nothing is missing in it later. That the database
// is lost before the archive is back is two failures at once.

// archiveTimeout bounds how long a lane waits for the archive.
const archiveTimeout = 5 * time.Second

// keepEffects archives events that had an effect, and those that were delivered again after it, as the worker that had them first
// may have died in between.
func (w *Worker) keepEffects(ctx context.Context, endings []*ending) {
	if w.archive == nil {
		return
	}
	var out []record.Outgoing
	var of []*ending
	for _, e := range endings {
		had := e.effect()
		if had == nil || e.failed != nil || e.repeated() && !e.cameBefore() {
			continue
		}
		m, err := w.archived(e.event, had)
		if err != nil {
			e.failed = err
			w.log.Error("event not sealed for the archive; it stays where it is", "stream_seq", e.origin.Sequence, "error", err)
			continue
		}
		out, of = append(out, m), append(of, e)
	}
	if len(out) == 0 {
		return
	}
	if refused, events := refusedOf(ctx, out, of, w.archive.Publish(ctx, out)); len(refused) > 0 {
		w.archive.Kept(len(refused))
		w.owe(ctx, refused, events, "events neither archived nor kept for it; they are processed again")
	}
}

// effect returns the answer of an event that had its effect, now or before; nil for others.
func (e *event) effect() *record.Answer {
	switch v := e.verdict.(type) {
	case effect:
		return v.answer
	case repeat:
		return v.answer
	}
	return nil
}

func (w *Worker) archived(e *event, had *record.Answer) (record.Outgoing, error) {
	return record.Archived{
		Event:  store.EventKey{TenantID: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Scope: had.Scope},
		Origin: e.origin, StoredAt: e.env.StoredAt, Subject: e.subject, Door: e.env.Door, Attempt: had.Attempt,
		Outcome: had.Outcome, UserID: had.UserID, At: had.At,
	}.Write(w.cfg.Sealer, e.header, e.body)
}

// sweepArchived publishes those messages of the outbox that are owed to the archive, and returns the ids of those that are done with,
// and the others. Where there is no archive any more, nothing is owed to it.
func (w *Worker) sweepArchived(ctx context.Context, out []record.Outgoing) (done []string, others []record.Outgoing) {
	var owed []record.Outgoing
	for _, o := range out {
		switch {
		case !record.BranchArchive.Holds(o.Subject):
			others = append(others, o)
		case w.archive == nil:
			done = append(done, o.ID)
		default:
			owed = append(owed, o)
		}
	}
	if len(owed) == 0 {
		return done, others
	}
	for i, err := range w.archive.Publish(ctx, owed) {
		if err == nil {
			done = append(done, owed[i].ID)
		}
	}
	return slices.Clip(done), others
}

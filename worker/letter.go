package worker

import (
	"fmt"

	"github.com/idpsync/idpsync/worker/record"
)

// deadLetterID is the message id of the dead letter that an attempt at a stored message ended in.
func (e *event) deadLetterID() string { return record.DeadLetterID(e.origin, e.attempt) }

// deadLetter makes the record of an event that could not be processed.
func (w *Worker) deadLetter(e *event) (record.Outgoing, error) {
	now := w.now()
	d := record.DeadLetter{
		Origin: e.origin, StoredAt: e.env.StoredAt, Subject: e.subject, EventID: e.env.EventID, Tenant: e.env.Tenant, Source: e.env.Source,
		Attempts: 1, FirstFailed: now, LastFailed: now, Worker: w.cfg.Name, Version: w.cfg.Version, Trace: e.header.Get("traceparent"),
		Replays: e.attempt,
	}
	if e.message != nil {
		d.Attempts = int(e.message.Delivered()) //nolint:gosec // bounded by MaxDeliver
	}
	if e.parked != nil {
		d.FirstFailed, d.Attempts = e.parked.FirstFailed, e.parked.Attempts+1
	}
	if e.replay != nil {
		d.Parent = e.replay.letter
	}
	d.Refused(e.rejection)
	return d.Write(w.cfg.Sealer, e.header, e.raw)
}

// logRejection writes what the log says of a rejection: never a value of the event.
func (w *Worker) logRejection(e *event) {
	r := e.rejection
	attrs := []any{
		"tenant", e.env.Tenant, "source", e.env.Source, "event_id", e.env.EventID, "door", e.env.Door,
		"code", r.Code, "reason", r.Reason,
	}
	if e.origin.Sequence > 0 {
		attrs = append(attrs, "stream_seq", e.origin.Sequence)
	}
	if r.Cause != nil && r.Code == record.CodeInternal {
		attrs = append(attrs, "error", fmt.Sprint(r.Cause))
	}
	w.log.Info("event rejected", attrs...)
}

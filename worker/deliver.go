package worker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// An ending is an event whose verdict is told.
type ending struct {
	*event
	answer *record.Answer // nil for one that waits and that no caller waits for
	failed error          // why it could not be told
}

// deliver tells what became of decided events, in the order that loses nothing: dead letters, then results, then the
// disposition of each message. What cannot be told now is told after redelivery, as the effects are recorded and every id is
// deterministic. Callers of the front doors are answered at once: their result is owed by the outbox, so they need not wait
// for a broker that is slow.
func (w *Worker) deliver(ctx context.Context, events []*event) {
	endings := make([]*ending, len(events))
	for i, e := range events {
		endings[i] = &ending{event: e}
	}
	w.park(ctx, endings)
	for _, e := range endings {
		if e.reply != nil {
			e.answer = e.answered(w.now())
			e.reply <- *e.answer
		}
	}
	w.keepVerdicts(ctx, endings)
	for _, e := range endings {
		if e.reply == nil {
			e.answer = e.answered(w.now())
		}
	}
	w.publishDeadLetters(ctx, endings)
	w.publishResults(ctx, endings)
	w.keepEffects(ctx, endings)
	w.dispose(ctx, endings)
}

// answered is the answer that the verdict makes; nil for an event that waits while no caller does.
func (e *event) answered(now time.Time) *record.Answer {
	switch v := e.verdict.(type) {
	case effect:
		return v.answer
	case repeat:
		return v.answer
	case rejected:
		a := record.Rejected(v.Rejection, now)
		a.Attempt = e.attempt
		a.CameIn = e.cameIn()
		a.Scope, a.Credential = e.scope(), e.credential()
		if e.kept != nil {
			a.Scope, a.Credential = e.kept.Scope, e.kept.Credential
		}
		if e.deadLettered() && e.reply == nil {
			a.DeadLetter = record.DeadLetterID(e.origin, e.attempt)
		}
		if e.counted {
			a.DeadLetter = record.CountedLetter
		}
		return a
	case *deferred:
		if e.reply == nil {
			return nil
		}
		r := record.Reject(record.CodeUnavailable, v.reason, unreachable)
		r.Cause = v.cause
		a := record.Rejected(r, now)
		a.CameIn = e.cameIn()
		return a
	}
	panic(fmt.Sprintf("event %s: no verdict", e.env.EventID)) // commit leaves none undecided
}

const unreachable = "What is needed to decide the request cannot be reached; try again later."

// letterTimeout bounds how long a lane waits for the stream of dead letters.
const letterTimeout = 5 * time.Second

// publishDeadLetters stores the rejected events that an operator has to look at.
func (w *Worker) publishDeadLetters(ctx context.Context, endings []*ending) {
	var out []record.Outgoing
	var of []*ending
	for _, e := range endings {
		r := e.rejection()
		if r == nil || e.failed != nil {
			continue
		}
		w.logRejection(e.event, r)
		if e.deadLettered() && e.reply == nil {
			letter, err := w.deadLetter(e.event, r)
			if err != nil {
				e.failed = err
				w.log.Error("dead letter not made; the event stays where it is", "stream_seq", e.origin.Sequence, "error", err)
				continue
			}
			out, of = append(out, letter), append(of, e)
		}
	}
	if len(out) == 0 {
		return
	}
	errs := w.letters.Publish(ctx, out)
	if letters, refused := refusedOf(ctx, out, of, errs); len(refused) > 0 {
		w.letters.Kept(len(refused))
		w.oweLetters(ctx, letters, refused)
	}
}

// refusedOf returns the messages that their stream refused, with their events. Those whose turn ended with ctx are not among
// them: their events are delivered again.
func refusedOf(ctx context.Context, out []record.Outgoing, of []*ending, errs []error) (refused []record.Outgoing, events []*ending) {
	for i, err := range errs {
		switch {
		case err == nil:
		case ctx.Err() != nil:
			of[i].failed = err
		default:
			refused, events = append(refused, out[i]), append(events, of[i])
		}
	}
	return refused, events
}

// deadLetter makes the record of an event that could not be processed.
func (w *Worker) deadLetter(e *event, r *record.Rejection) (record.Outgoing, error) {
	now := w.now()
	d := record.DeadLetter{
		Origin: e.origin, StoredAt: e.env.StoredAt, Subject: e.subject, EventID: e.env.EventID, Tenant: e.env.Tenant, Source: e.env.Source,
		Attempts: 1, FirstFailed: now, LastFailed: now, Worker: w.cfg.Name, Version: w.cfg.Version, Trace: e.header.Get("traceparent"),
		Replays: e.attempt,
	}
	if e.delivery != nil {
		d.Attempts = int(e.delivery.Delivered()) //nolint:gosec // bounded by MaxDeliver
	}
	if e.parked != nil {
		d.FirstFailed, d.Attempts = e.parked.FirstFailed, e.parked.Attempts+1
	}
	if e.replay != nil {
		d.Parent = e.replay.letter
	}
	d.Refused(r)
	return d.Write(w.cfg.Sealer, e.header, e.body)
}

// publishResults stores the results of all events that have one. A request that is rejected, or repeats another one, is
// answered to its caller alone.
func (w *Worker) publishResults(ctx context.Context, endings []*ending) {
	var out []record.Outgoing
	var of []*ending
	for _, e := range endings {
		if e.failed != nil || e.waiting() != nil {
			continue
		}
		w.metrics.Outcome(e.env.Source, string(e.env.Door), string(e.answer.Outcome), string(e.code()))
		if e.reply != nil && (e.rejection() != nil || e.repeated()) {
			continue
		}
		o := e.answer.Result(e.env.Tenant, e.env.Source, e.env.EventID)
		if e.replay != nil {
			o.Header[record.HeaderReplayOf] = []string{strconv.FormatUint(e.replay.letter, 10)}
			o.Header[record.HeaderCampaign] = []string{record.OneLine(e.replay.order.Campaign)}
			o.Header[record.HeaderOperator] = []string{record.OneLine(e.replay.by.String())}
		}
		out, of = append(out, o), append(of, e)
	}
	if len(out) == 0 {
		return
	}
	errs := w.results.Publish(ctx, out)
	var swept []string
	for i, e := range of {
		if errs[i] == nil && e.reply != nil {
			swept = append(swept, out[i].ID)
		}
	}
	results, refused := refusedOf(ctx, out, of, errs)
	w.results.Kept(len(refused))
	w.oweResults(ctx, results, refused)
	if len(swept) > 0 {
		if err := w.store.DeleteOutbox(ctx, swept); err != nil {
			w.log.Warn("outbox not cleared; the sweep will", "count", len(swept), "error", err)
		}
	}
}

// dispose tells each transport. The last ack waits for the broker's answer: one connection keeps its order, so the earlier
// ones have arrived then too.
func (w *Worker) dispose(ctx context.Context, endings []*ending) {
	var acks []Message
	var done []int64
	var secrets []*event
	for _, e := range endings {
		e.told = e.failed == nil && e.waiting() == nil
		switch e.disposition(e.failed != nil) {
		case left:
		case unpark:
			done = append(done, e.parked.ID)
		case nakked:
			delay := clock.Backoff(int(e.delivery.Delivered()), 0) //nolint:gosec // bounded by MaxDeliver
			if v := e.waiting(); v != nil {
				delay = max(delay, v.after)
			}
			w.checkDisposed(e.event, e.delivery.NakWithDelay(delay))
		case erased:
			secrets = append(secrets, e.event)
		case termed:
			w.checkDisposed(e.event, e.delivery.Term(e.termReason()))
		case acked:
			acks = append(acks, e.delivery)
		}
	}
	if len(done) > 0 {
		if err := w.store.DeleteParked(ctx, done); err != nil {
			w.log.Warn("parked events not removed; they will be found done", "count", len(done), "error", err)
		}
	}
	for i, m := range acks {
		var err error
		if i == len(acks)-1 {
			err = m.AckSync(ctx)
		} else {
			err = m.Ack()
		}
		if err != nil {
			w.log.Warn("ack not told; the event will be delivered again and found done", "stream_seq", m.Sequence(), "error", err)
		}
	}
	for _, e := range secrets {
		w.eraseAside(ctx, e)
	}
}

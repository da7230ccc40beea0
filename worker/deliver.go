package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// deliver tells everybody what became of decided events, in the order that loses nothing: dead letters, then results,
// then the disposition of each message. What cannot be told now is told after redelivery, as the effects are recorded
// and every id is deterministic. Whoever waits at a front door is answered at once: their result is owed by the outbox,
// so they need not wait for a broker that is slow.
func (w *Worker) deliver(ctx context.Context, events []*event) {
	failed := map[*event]error{}
	w.acquit(ctx, waiting(events)) // before another worker, or this one, can take them up again
	w.park(ctx, events, failed)
	w.conclude(events)
	w.reply(events)
	w.publishDeadLetters(ctx, events, failed)
	w.publishResults(ctx, events, failed)
	w.dispose(ctx, events, failed)
	w.acquit(ctx, events) // also when time is up: it lives, so none of them ended it
}

// waiting returns the events that cannot be decided yet.
func waiting(events []*event) []*event {
	var out []*event
	for _, e := range events {
		if e.wait != nil {
			out = append(out, e)
		}
	}
	return out
}

// park moves events that must wait into the store, so that they occupy neither the consumer nor its delivery count.
// Those whose wait is short stay with the broker, unless they have been there before.
func (w *Worker) park(ctx context.Context, events []*event, failed map[*event]error) {
	var fresh, back []store.Parked
	var parked []*event
	for _, e := range events {
		if e.wait == nil || e.reply != nil || e.replay != nil || e.napping() {
			continue
		}
		row, err := w.parkedRow(e)
		if err != nil {
			failed[e] = err
			w.log.Error("event could not be parked; it stays where it is", "stream_seq", e.origin.Sequence, "error", err)
			continue
		}
		if w.now().Sub(row.FirstFailed) >= w.budget(e) {
			e.rejection = record.Reject(record.CodeUnavailable, e.wait.reason, "What is needed to decide the event stayed out of reach for longer than it may wait.")
			e.rejection.Hint = "Bring the source back, then replay."
			e.rejection.Cause = e.wait.cause
			e.wait = nil
			continue
		}
		row.NotBefore = w.now().Add(w.delay(row.Attempts, e.wait.after))
		parked = append(parked, e)
		if e.parked != nil {
			back = append(back, row)
		} else {
			fresh = append(fresh, row)
		}
	}
	var err error
	if len(fresh) > 0 {
		err = w.store.Park(ctx, fresh)
		w.metrics.Parked(len(fresh))
	}
	if len(back) > 0 {
		err = errors.Join(err, w.store.Repark(ctx, back))
	}
	if err != nil {
		w.log.Warn("events could not be parked; they stay where they are", "count", len(parked), "error", err)
		for _, e := range parked {
			failed[e] = err
		}
	}
}

// napping reports whether the broker can keep the event for its short wait.
func (e *event) napping() bool {
	return e.message != nil && !e.wait.away && e.wait.after <= maxNap && e.message.Delivered() <= maxNaps
}

// publishDeadLetters stores the rejected events that somebody has to look at.
func (w *Worker) publishDeadLetters(ctx context.Context, events []*event, failed map[*event]error) {
	var out []record.Outgoing
	var of []*event
	for _, e := range events {
		if e.rejection == nil {
			continue
		}
		w.logRejection(e)
		if e.rejection.DeadLetter && e.reply == nil {
			letter, err := w.deadLetter(e)
			if err != nil {
				failed[e] = err
				w.log.Error("dead letter not made; the event stays where it is", "stream_seq", e.origin.Sequence, "error", err)
				continue
			}
			out, of = append(out, letter), append(of, e)
		}
	}
	if len(out) == 0 {
		return
	}
	for i, err := range w.publisher.Publish(ctx, out) {
		if err != nil {
			failed[of[i]] = err
			w.log.Error("dead letter not stored; the event stays where it is", "stream_seq", of[i].origin.Sequence, "error", err)
		}
	}
}

// conclude makes the answers of rejections.
func (w *Worker) conclude(events []*event) {
	for _, e := range events {
		if e.rejection == nil {
			continue
		}
		a := record.Rejected(e.rejection, w.now())
		a.Attempt = e.attempt
		a.CameIn = e.cameIn()
		a.Scope, a.Credential = e.scope(), e.credential()
		if e.rejection.DeadLetter && e.reply == nil {
			a.DeadLetter = e.deadLetterID()
		}
		e.answer = a
	}
}

// publishResults stores the results of all events that have one. A rejected request that somebody waits for is answered
// to them alone.
func (w *Worker) publishResults(ctx context.Context, events []*event, failed map[*event]error) {
	var out []record.Outgoing
	var of []*event
	for _, e := range events {
		if failed[e] != nil || e.wait != nil {
			continue
		}
		w.metrics.Outcome(e.env.Source, string(e.env.Door), string(e.answer.Outcome), e.code())
		if e.reply != nil && (e.rejection != nil || e.repeated()) {
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
	errs := w.publisher.Publish(ctx, out)
	var swept []string
	lost := 0
	for i, e := range of {
		if errs != nil && errs[i] != nil {
			if failed[e] = errs[i]; lost == 0 {
				w.log.Error("results not stored; they are published again, the first of them this", "event_id", e.env.EventID, "stream_seq", e.origin.Sequence, "error", errs[i])
			}
			lost++
		} else if e.reply != nil {
			swept = append(swept, out[i].ID)
		}
	}
	if lost > 1 {
		w.log.Error("further results not stored", "count", lost-1)
	}
	if len(swept) > 0 {
		if err := w.store.DeleteOutbox(ctx, swept); err != nil {
			w.log.Warn("outbox not cleared; the sweep will", "count", len(swept), "error", err)
		}
	}
}

// dispose tells the broker. The last Ack waits for the broker's answer: one connection keeps its order, so the earlier
// ones have arrived then too.
func (w *Worker) dispose(ctx context.Context, events []*event, failed map[*event]error) {
	var acks []Message
	var done []int64
	var secrets []*event
	for _, e := range events {
		err := failed[e]
		e.told = err == nil && e.wait == nil
		switch {
		case e.parked != nil:
			if err == nil && e.wait == nil {
				done = append(done, e.parked.ID)
			}
		case e.message == nil:
		case err != nil || (e.wait != nil && e.napping()):
			nap := w.delay(int(e.message.Delivered()), 0) //nolint:gosec // bounded by MaxDeliver
			if e.wait != nil {
				nap = max(nap, e.wait.after)
			}
			w.told(e, e.message.NakWithDelay(nap))
		case e.secretive():
			secrets = append(secrets, e)
		case e.rejection != nil && e.rejection.DeadLetter:
			w.told(e, e.message.Term(e.terminated()))
		default:
			acks = append(acks, e.message)
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

// terminated is what the broker is told of a delivery that ended in a dead letter.
func (e *event) terminated() string { return string(e.rejection.Code) + " " + e.rejection.Reason }

func (w *Worker) told(e *event, err error) {
	if err != nil {
		w.log.Warn("disposition not told; the event will be delivered again", "stream_seq", e.origin.Sequence, "error", err)
	}
}

// code is the error code of the event's rejection, or "".
func (e *event) code() string {
	if e.rejection == nil {
		return ""
	}
	return string(e.rejection.Code)
}

// Short waits stay with the broker; see [Worker.park].
const (
	maxNap  = 5 * time.Second
	maxNaps = 3
)

// Back-off of events that wait: full jitter under an exponential ceiling.
const (
	baseDelay = time.Second
	maxDelay  = time.Minute
)

// delay is how long to wait before the next attempt, after so many of them, and at least the given time.
func (w *Worker) delay(attempts int, atLeast time.Duration) time.Duration {
	ceiling := maxDelay
	if attempts < 6 {
		ceiling = min(maxDelay, baseDelay<<max(attempts, 0))
	}
	jitter := time.Duration(rand.Int64N(int64(ceiling))) //nolint:gosec // spreads load; no secret
	return max(atLeast, baseDelay/4) + jitter
}

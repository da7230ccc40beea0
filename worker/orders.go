package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// replays processes operators' orders, one at a time and below both lanes, until ctx ends.
func (w *Worker) replays(ctx, hard context.Context) {
	for try := 0; ctx.Err() == nil; {
		if err := w.database.Wait(ctx); err != nil {
			return
		}
		consumer, err := w.cfg.Open(ctx, record.LaneReplays)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			w.log.Warn("consumer of replays not opened; trying again", "error", err)
			if clock.Pause(ctx, clock.Backoff(try, 0)) != nil {
				return
			}
			try++
			continue
		}
		try = 0
		stop := context.AfterFunc(ctx, consumer.Drain)
		for {
			m, err := consumer.Next(hard)
			if err != nil {
				if !errors.Is(err, ErrConsumerClosed) && hard.Err() == nil {
					w.log.Warn("consumer of replays failed; it is opened again", "error", err)
				}
				break
			}
			if w.database.Open() {
				consumer.Drain()
			}
			if ctx.Err() != nil || w.database.Open() {
				w.toldOrder(m, m.NakWithDelay(0))
				continue
			}
			w.carryOut(hard, m)
		}
		stop()
	}
}

func (w *Worker) toldOrder(m Message, err error) {
	if err != nil {
		w.log.Warn("disposition of an order not told; it is delivered again and its finished parts are found done", "stream_seq", m.Sequence(), "error", err)
	}
}

// carryOut carries out one order. It may be delivered again at any point: what is done is found done.
func (w *Worker) carryOut(ctx context.Context, m Message) {
	o, tenant, by, err := record.ReadOrder(m.Subject(), m.Data(), w.cfg.Vouches)
	if err != nil {
		if others, due := w.orders.Due(w.now()); due { // who may not give orders can have as many put here as it likes
			w.log.Error("order to replay refused", "stream_seq", m.Sequence(), "error", err, "others_since", others)
		}
		w.toldOrder(m, m.Term("malformed order"))
		return
	}
	slices.Sort(o.Sequences)
	o.Sequences = slices.Compact(o.Sequences) // a dead letter named twice is one
	events, retry := w.gather(ctx, tenant, o, by)
	if o.Action == record.OrderReplay && len(events) > 0 {
		if m.Delivered() > 1 {
			w.processAgain(ctx, events)
		} else {
			w.process(ctx, events)
		}
	}
	for _, e := range events {
		retry = retry || (o.Action == record.OrderReplay && !e.told)
	}
	if err := w.closeDeadLetters(ctx, events, o, by); err != nil {
		w.log.Warn("states of dead letters not kept; the order is carried out again", "campaign", o.Campaign, "error", err)
		retry = true
	}
	if retry && m.Delivered() < maxOrderDeliveries {
		w.toldOrder(m, m.NakWithDelay(clock.Backoff(int(m.Delivered()), 0))) //nolint:gosec // bounded by MaxDeliver
		return
	}
	w.toldOrder(m, m.AckSync(ctx))
}

// maxOrderDeliveries is how often an order is tried whose dead letters wait for something; they stay open then.
const maxOrderDeliveries = 15

// gather reads the dead letters of an order that nobody has dealt with yet. Retry says that some could not be read.
func (w *Worker) gather(ctx context.Context, tenant string, o record.Order, by record.Operator) (events []*event, retry bool) {
	var foreign []uint64
	for _, seq := range o.Sequences {
		began := time.Now()
		state, err := w.store.DeadLetter(ctx, seq)
		if unavailable(err) {
			w.database.Away(began, err)
			return nil, true
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			w.log.Warn("state of a dead letter not read", "dead_letter", seq, "error", err)
			retry = true
			continue
		}
		if state.State == store.DeadLetterReplayed || state.State == store.DeadLetterDiscarded {
			continue
		}
		letter, err := w.cfg.Broker.DeadLetter(ctx, seq)
		if errors.Is(err, record.ErrRecord) || err == nil && w.forged(letter) {
			foreign = append(foreign, seq)
			continue
		}
		if err != nil {
			w.log.Warn("dead letter not read", "dead_letter", seq, "error", err)
			retry = retry || !errors.Is(err, record.ErrNoMessage)
			continue
		}
		e, err := w.openDeadLetter(letter)
		if o.Action == record.OrderDiscard && err != nil {
			e, err = unopened(letter), nil // what cannot be opened can still be put aside
		}
		if err != nil {
			w.log.Error("dead letter refused; nothing of it is processed", "dead_letter", seq, "error", err)
			continue
		}
		if record.TenantToken(tenant) != record.TenantToken(e.env.Tenant) {
			w.log.Error("order names a dead letter of another tenant; it is not processed", "dead_letter", seq, "tenant", tenant, "operator", by.String())
			continue
		}
		d, _ := record.ReadDeadLetter(letter.Header) // opened, or to be put aside whatever it says
		e.replay, e.due = &replay{order: o, by: by, letter: seq, record: d}, w.now()
		events = append(events, e)
	}
	if len(foreign) > 0 {
		w.log.Error("order names messages that no worker of this deployment wrote; they are passed over", "count", len(foreign), "dead_letters", foreign, "campaign", o.Campaign)
	}
	return events, retry
}

// forged reports whether a dead letter was not written by a worker, as its signature does not hold. One that names a key
// that the deployment has no more cannot be opened, but may be genuine.
func (w *Worker) forged(letter record.Stored) bool {
	authentic, otherKey := record.Authentic(w.cfg.Sealer, letter)
	return !authentic && !otherKey
}

// closeDeadLetters notes what became of the dead letters of an order, and who gave it.
func (w *Worker) closeDeadLetters(ctx context.Context, events []*event, o record.Order, by record.Operator) error {
	var rows []store.DeadLetter
	var ids []string                   // of those that take no room on a quota any more
	sequences := map[string][]uint64{} // by tenant
	for _, e := range events {
		if o.Action == record.OrderReplay && !e.told {
			continue
		}
		kept := e.replay.record
		row := store.DeadLetter{
			Sequence: e.replay.letter, Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Who: by.String(), Why: o.Why,
			Code: string(kept.Code), Reason: kept.Reason, Fingerprint: kept.Fingerprint, Parent: kept.Parent,
			Campaign: o.Campaign, Attempts: e.attempt, CreatedAt: w.now(), UpdatedAt: w.now(), State: store.DeadLetterReplayed,
		}
		if o.Action == record.OrderDiscard {
			row.State, row.Attempts = store.DeadLetterDiscarded, e.attempt-1
		} else if row.Outcome = string(e.code()); row.Outcome == "" { // a second failure is a dead letter of its own, which names this one
			row.Outcome = string(e.answered(w.now()).Outcome)
		}
		rows, ids = append(rows, row), append(ids, kept.ID())
		sequences[e.env.Tenant] = append(sequences[e.env.Tenant], row.Sequence)
	}
	if err := w.store.UpsertDeadLetters(ctx, rows); err != nil {
		return err
	}
	if err := w.store.UncountLetters(ctx, ids); err != nil {
		return err
	}
	for tenant, list := range sequences {
		detail := record.Marshal(map[string]any{"why": o.Why, "sequences": list, "vouched": by.Vouched, "said": by.Said})
		if err := w.store.Audit(ctx, store.AuditEntry{
			At: w.now(), Who: by.String(), Action: "deadletter." + o.Action, Tenant: tenant, Object: o.Campaign, Detail: detail,
		}); err != nil {
			return err
		}
	}
	return nil
}

// maxReplays bounds the replays of one event, so that no cycle of tools can go on for ever.
const maxReplays = 100

// A replay says whose order brought a dead letter back.
type replay struct {
	order  record.Order
	by     record.Operator
	letter uint64 // its sequence
	record record.DeadLetter
}

// openDeadLetter makes a dead letter the event that it was: with its own id, its own stored time, and its own body.
func (w *Worker) openDeadLetter(letter record.Stored) (*event, error) {
	o, err := record.Unseal(w.cfg.Sealer, letter.Header, letter.Data)
	if err != nil {
		return nil, err
	}
	d, err := record.ReadDeadLetter(letter.Header)
	if err != nil {
		return nil, err
	}
	e := storedEvent(o.Subject, d.Origin, d.StoredAt)
	e.attempt, e.env.Replayed = d.Replays+1, true
	e.open(o.Header, o.Data)
	if d.EventID != "" {
		e.env.EventID, e.former = d.EventID, "" // what it was refused under, whatever its headers would name today
	}
	if e.attempt > maxReplays {
		e.reject(record.Reject(record.CodeInternal, "replayed_too_often", "The event was replayed too often."))
	}
	return e, nil
}

// unopened is a dead letter by what its headers say, unproved.
func unopened(letter record.Stored) *event {
	d, _ := record.ReadDeadLetter(letter.Header) // what can be read of it is enough to put it aside
	e := &event{message: message{subject: d.Subject, origin: d.Origin, attempt: 1}}
	e.env = providers.Envelope{Tenant: d.Tenant, Source: d.Source, EventID: d.EventID}
	return e
}

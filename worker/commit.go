package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// commit decides all undecided events in one transaction and makes the decisions durable. It leaves those undecided, and
// returns them, that were verified by a directory that is no longer in force. An error means that nothing was written and the
// same batch may be tried again later: it is of class [store.ErrUnavailable], or ctx's.
//
// A batch that the database refuses for another reason is halved until the row at fault stands alone, so that one bad
// row does not sink the others.
func (w *Worker) commit(ctx context.Context, events []*event) (stale []*event, err error) {
	if err := w.keepFormerIDs(ctx, formerlyNamed(events)); err != nil {
		return nil, err
	}
	if err := w.recall(ctx, events); err != nil {
		return nil, err
	}
	open := undecided(events)
	for len(open) > 0 {
		var p *plan
		err := w.store.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
			p = w.newPlan(open)
			return p.run(ctx, tx)
		})
		if err == nil {
			p.settle()
			stale, open = append(stale, p.stale...), p.deferred
			continue
		}
		if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) {
			return nil, err
		}
		if len(open) > 1 {
			half := len(open) / 2
			more, err := w.commit(ctx, open[:half])
			if err != nil {
				return nil, err
			}
			stale, open = append(stale, more...), open[half:]
			continue
		}
		w.refuseRow(open[0], err)
		return stale, nil
	}
	return stale, nil
}

// refuseRow concludes that the database refuses the rows of an event, or waits when that may not be the event's fault.
func (w *Worker) refuseRow(e *event, err error) {
	switch {
	case errors.Is(err, store.ErrRaced):
		e.wait("raced", err)
	case !errors.Is(err, store.ErrConstraint): // nothing says that it is the event's fault
		w.log.Error("event not stored for a reason that is not known; it waits", "subject", e.subject, "event_id", e.env.EventID, "error", err)
		e.wait("store", err)
	default:
		w.log.Error("event refused by the database", "subject", e.subject, "event_id", e.env.EventID, "error", err)
		e.reject(notStored(err))
	}
}

// notStored is the rejection of an event that the database refuses.
func notStored(cause error) *record.Rejection {
	r := record.Reject(record.CodeInternal, "store", "The event could not be stored.")
	r.Cause = cause
	return r
}

// recall finds out which of the events were refused by an earlier delivery, and which of those that are refused, or wait, had
// their effect then: the directory, a credential or a policy may have changed since, and what is done is done. Only the very
// message that had the effect counts; another one under its event id is refused in its own right.
func (w *Worker) recall(ctx context.Context, events []*event) error {
	var again, refused []*event
	for _, e := range events {
		if e.cameBefore() && e.kept == nil {
			again = append(again, e)
		}
	}
	if err := w.recallRefusals(ctx, again); err != nil {
		return err
	}
	var lookups []store.Lookup
	for _, e := range again {
		if e.kept == nil && (e.rejection() != nil || e.waiting() != nil) && e.env.Tenant != "" && e.env.Source != "" {
			refused = append(refused, e)
			lookups = append(lookups, e.broughtBy())
		}
	}
	if len(refused) == 0 {
		return nil
	}
	found, err := w.store.Find(ctx, lookups)
	if err != nil {
		return fmt.Errorf("look for earlier effects: %w", err)
	}
	for i, e := range refused {
		row := found[i].Brought
		if row == nil {
			continue
		}
		again, err := e.answerAgain(ctx, w.store.Avatar, row)
		if err != nil {
			return err
		}
		e.verdict = repeat{again}
	}
	return nil
}

// A findPicture finds the picture that a row of the ledger leaves out; that of a store or a transaction is its method Avatar.
type findPicture func(ctx context.Context, tenant, userID string, revision int64) (string, error)

// answerAgain is the answer of a row of the ledger, with the picture that its result or a waiting caller gets.
func (e *event) answerAgain(ctx context.Context, find findPicture, row *store.Event) (*record.Answer, error) {
	a, err := record.ReadAnswer(row)
	if err != nil || !e.wantsPicture(a) {
		return a, err
	}
	avatar, err := find(ctx, row.TenantID, row.UserID, a.Picture.Revision)
	if err != nil {
		return nil, fmt.Errorf("look for the picture of a user: %w", err)
	}
	a.SetPicture(avatar)
	return a, nil
}

// wantsPicture reports whether anyone gets the picture that the ledger leaves out of an answer.
func (e *event) wantsPicture(a *record.Answer) bool {
	return a.Picture != nil && (e.reply != nil || !a.Picture.Omitted)
}

func undecided(events []*event) []*event {
	open := make([]*event, 0, len(events))
	for _, e := range events {
		if !e.decided() {
			open = append(open, e)
		}
	}
	return open
}

// keepFormerIDs gives events that an earlier version processed the id that they had then, and has them named by their origin
// as it was written then. An event that was stored before an upgrade may be delivered again after it. An origin without the
// stored time may be another message's, so that the row has to tell the same time.
func (w *Worker) keepFormerIDs(ctx context.Context, events []*event) error {
	var lookups []store.Lookup
	var of []*event
	for _, e := range events {
		for _, id := range []string{e.env.EventID, e.former} {
			if id != "" && (id == e.former || !e.origin.At.IsZero()) { // else it is found as it is
				lookups = append(lookups, store.Lookup{Tenant: e.env.Tenant, Source: e.env.Source, EventID: id, Origin: e.origin.Former().String()})
				of = append(of, e)
			}
		}
	}
	if len(lookups) == 0 {
		return nil
	}
	found, err := w.store.Find(ctx, lookups)
	if err != nil {
		return fmt.Errorf("look for effects under former ids: %w", err)
	}
	for i, e := range of {
		if row := found[i].Brought; row != nil && row.StoredAt.Equal(e.arrived().Truncate(time.Microsecond)) {
			e.message.env.EventID, e.message.former, e.message.formerly = lookups[i].EventID, "", true
		}
	}
	return nil
}

// formerlyNamed returns the events that an earlier version may have processed.
func formerlyNamed(events []*event) []*event {
	var named []*event
	for _, e := range events {
		if e.cameBefore() && !e.formerly && e.env.Tenant != "" && e.env.Source != "" {
			named = append(named, e)
		}
	}
	return named
}

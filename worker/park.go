package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// park moves events that must wait into the store, so that they occupy neither the consumer nor its delivery count.
// Those whose wait is short stay with the broker, unless they have been there before. One that has waited for longer than it
// may is rejected.
func (w *Worker) park(ctx context.Context, endings []*ending) {
	var fresh, back []store.Parked
	var parked []*ending
	for _, e := range endings {
		v := e.waiting()
		if v == nil || e.reply != nil || e.replay != nil || e.staysWithBroker() {
			continue
		}
		row, err := w.parkedRow(e.event)
		if err != nil {
			e.failed = err
			w.log.Error("event could not be parked; it stays where it is", "stream_seq", e.origin.Sequence, "error", err)
			continue
		}
		if row.Waited >= w.budget(e.event) {
			r := record.Reject(record.CodeUnavailable, e.reasonToPark(), "What is needed to decide the event stayed out of reach for longer than it may wait.")
			r.Hint = "Bring the source back, then replay."
			if pe, ok := errors.AsType[*providers.Error](v.cause); ok {
				r.Hint = strings.TrimSpace(strings.Join([]string{upper(pe.Message), upper(pe.Hint), "Then replay."}, " "))
			}
			r.Cause = v.cause
			e.reject(r)
			continue
		}
		row.Delay = clock.Backoff(row.Attempts, v.after)
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
			e.failed = err
		}
	}
}

// seal seals the headers and the body of what is parked: they hold tokens, credentials and perhaps passwords, and a database
// is copied about.
func (w *Worker) seal(header providers.Header, body []byte) (headers, payload []byte, err error) {
	if headers, err = w.cfg.Sealer.Seal(record.Marshal(header)); err != nil {
		return nil, nil, err
	}
	payload, err = w.cfg.Sealer.Seal(body)
	return headers, payload, err
}

// unseal opens what seal sealed.
func (w *Worker) unseal(row store.Parked) (header providers.Header, body []byte, err error) {
	headers, err := w.cfg.Sealer.Open(row.Headers)
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(headers, &header); err != nil {
		return nil, nil, err
	}
	body, err = w.cfg.Sealer.Open(row.Payload)
	return header, body, err
}

// parkedRow is the row that keeps an event exactly as the broker had it.
func (w *Worker) parkedRow(e *event) (store.Parked, error) {
	reason := e.reasonToPark()
	if e.parked != nil {
		row := *e.parked
		row.Attempts++
		row.Reason = reason
		return row, nil
	}
	headers, payload, err := w.seal(e.header, e.body)
	if err != nil {
		return store.Parked{}, fmt.Errorf("seal an event to park: %w", err)
	}
	return store.Parked{
		Key: e.origin.String(), Tenant: e.env.Tenant, Source: e.env.Source, Subject: e.subject, Headers: headers, Payload: payload,
		EventID: e.env.EventID, StoredAt: e.env.StoredAt, Sequence: e.origin.Sequence, Attempts: 1, Reason: reason,
	}, nil
}

// reasonToPark is why an event waits. While what it waits for is being read once more, that is why it waited before.
func (e *event) reasonToPark() string {
	v := e.waiting()
	if v.ready != nil && e.parked != nil && e.parked.Reason != "" {
		return e.parked.Reason
	}
	return v.reason
}

// openParked makes a parked row the event that it was.
func (w *Worker) openParked(row store.Parked) (*event, error) {
	e := storedEvent(row.Subject, record.ParseOrigin(row.Key), row.StoredAt)
	e.parked = &row
	header, body, err := w.unseal(row)
	if err != nil {
		return nil, err
	}
	e.open(header, body)
	e.env.EventID, e.former = row.EventID, "" // what it was parked under, whatever its headers would name today
	return e, nil
}

// budget is how long an event may wait in all.
func (w *Worker) budget(e *event) time.Duration {
	if e.env.Shape == providers.ShapeFeed {
		return w.cfg.FeedBudget
	}
	return w.cfg.LoginBudget
}

// upper makes a sentence of what a provider says.
func upper(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

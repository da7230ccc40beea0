package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// maxClaim bounds the parked events in hand, each of which may be as large as the broker lets it be.
const maxClaim = 100

// parkLease is how long a claimed event belongs to a worker; a worker that dies frees its claims by it.
const parkLease = 2 * time.Minute

// parkedRow is the row that keeps an event exactly as the broker had it.
// Headers and body are sealed: they hold tokens, credentials and perhaps passwords, and a database is copied about.
func (w *Worker) parkedRow(e *event) (store.Parked, error) {
	if e.parked != nil {
		row := *e.parked
		row.Attempts++
		row.Reason = e.wait.reason
		return row, nil
	}
	headers, err := w.cfg.Sealer.Seal(record.Marshal(e.header))
	if err != nil {
		return store.Parked{}, fmt.Errorf("seal the headers of an event to park: %w", err)
	}
	payload, err := w.cfg.Sealer.Seal(e.raw)
	if err != nil {
		return store.Parked{}, fmt.Errorf("seal an event to park: %w", err)
	}
	return store.Parked{
		Key: e.origin.String(), Tenant: e.env.Tenant, Source: e.env.Source, Subject: e.subject, Headers: headers, Payload: payload,
		EventID: e.env.EventID, StoredAt: e.env.StoredAt, Sequence: e.origin.Sequence, Attempts: 1, FirstFailed: w.now(), Reason: e.wait.reason,
	}, nil
}

// openParked makes a parked row the event that it was.
func (w *Worker) openParked(row store.Parked) (*event, error) {
	e := &event{parked: &row, subject: row.Subject}
	e.env = providers.Envelope{Door: providers.DoorStream, StoredAt: row.StoredAt, EventID: row.EventID}
	e.origin = record.ParseOrigin(row.Key)
	headers, err := w.cfg.Sealer.Open(row.Headers)
	if err != nil {
		return nil, err
	}
	var header providers.Header
	if err := json.Unmarshal(headers, &header); err != nil {
		return nil, err
	}
	payload, err := w.cfg.Sealer.Open(row.Payload)
	if err != nil {
		return nil, err
	}
	e.open(header, payload)
	e.env.EventID, e.former = row.EventID, "" // what it was parked under, whatever its headers would name today
	return e, nil
}

// relay brings parked events back when they are due, until ctx ends; those under way end with hard.
func (w *Worker) relay(ctx, hard context.Context) {
	tick := time.NewTicker(w.cfg.RelayInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for w.relayOnce(ctx, hard) == min(w.cfg.Batch, maxClaim) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (w *Worker) relayOnce(ctx, hard context.Context) int {
	if w.breaker.open() {
		return 0
	}
	rows, err := w.store.ClaimParked(ctx, w.cfg.Name, min(w.cfg.Batch, maxClaim), w.now(), parkLease)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("parked events could not be read", "error", err)
		}
		return 0
	}
	events := make([]*event, 0, len(rows))
	for _, row := range rows {
		e, err := w.openParked(row)
		if err != nil {
			w.log.Error("parked event unreadable; it stays", "id", row.ID, "error", err)
			continue
		}
		e.due = w.now()
		events = append(events, e)
	}
	if len(events) == 0 {
		return len(rows)
	}
	together, alone := w.screen(hard, events)
	if len(together) > 0 {
		w.process(hard, together)
	}
	for _, e := range alone {
		w.processAlone(hard, e)
	}
	return len(rows)
}

// budget is how long an event may wait in all.
func (w *Worker) budget(e *event) time.Duration {
	if e.env.Shape == providers.ShapeFeed {
		return w.cfg.FeedBudget
	}
	return w.cfg.LoginBudget
}

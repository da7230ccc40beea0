package worker

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

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

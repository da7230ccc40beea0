package store

import "time"

// An Outbox is a result whose publication is owed since its transaction was committed.
type Outbox struct {
	ID      string // the result's message id
	Subject string
	Headers []byte // in the form that the caller chose
	Body    []byte
	At      time.Time
}

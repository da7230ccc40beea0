package store

import "time"

// A Parked is an event that left its consumer to wait, with all that is needed to process it as if it had just arrived.
type Parked struct {
	ID          int64  // given by the store
	Key         string // what makes it the same event when it is parked twice; required
	Tenant      string
	Source      string
	Subject     string
	Headers     []byte // JSON
	Payload     []byte
	EventID     string
	StoredAt    time.Time // when the broker stored it
	Sequence    uint64    // in its stream
	Attempts    int
	FirstFailed time.Time
	Reason      string
	NotBefore   time.Time // not to be tried again before
}

// ParkedCount is the number of parked events of one source for one reason.
type ParkedCount struct {
	Tenant, Source, Reason string
	Count                  int64
	OldestStoredAt         time.Time
}

package store

import "time"

// An Event is a row of the ledger: an event that had its effect, and the result that was made of it.
type Event struct {
	TenantID      string
	Source        string
	EventID       string
	Scope         string // whose event id it is; "" for logins, and for rows from before scopes
	Credential    string // public id of the credential that sent it; "" when it was proved by other means
	PayloadHash   []byte // SHA-256
	Outcome       string
	Status        int    // as in Idpsync-Status
	UserID        string // "" when no user was touched
	Result        []byte // body of the result, byte for byte
	ResultHeaders []byte // its headers, in the form that the caller chose; optional
	Attempt       int
	Policies      []string // ids of the policies that decided
	Door          string
	Origin        string    // the stored message that it came in: stream, creation time, sequence and stored time; "" when it came by another door
	StoredAt      time.Time // by which the event was judged: when the broker stored it, or a trusted domain did so first, or a front door received it
	At            time.Time // when it was processed
}

// A Repeat is a stored message that brought an event which the ledger had already, by another message.
type Repeat struct {
	Origin   string // the message, as in [Event]
	TenantID string
	Source   string
	EventID  string
	Scope    string
	At       time.Time
}

// EventKey identifies an event.
type EventKey struct {
	TenantID string
	Source   string
	EventID  string
	Scope    string
}

// Key returns the key of the row.
func (e *Event) Key() EventKey { return EventKey{e.TenantID, e.Source, e.EventID, e.Scope} }

// An EventFilter selects ledger rows. Their order is that of their keys, so that After can walk through a ledger of any
// size; with Newest it is latest first, and After is not looked at.
type EventFilter struct {
	Tenant     string    // "" means all
	Source     string    // "" means all
	EventID    string    // "" means all; in every scope
	Credential string    // "" means all
	Since      time.Time // processed at or after; zero means any time
	Outcome    string    // "" means all
	Limit      int       // 0 means DefaultLimit
	After      EventKey  // key of the last row of the page before
	Newest     bool
}

// A UsedID is an identifier that no other event of its source may use before Until.
type UsedID struct {
	TenantID string
	Source   string
	ID       string
	EventID  string // the event that used it
	Until    time.Time
}

// Counts are the numbers of rows, as `doctor` and metrics show them.
type Counts struct {
	Tenants, Users, Identities, Events, UsedIDs, Outbox, Parked, InFlight, OpenDeadLetters int64
	OldestOutbox                                                                           time.Time // zero: none
}

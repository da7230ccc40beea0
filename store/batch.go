package store

import "github.com/jmoiron/sqlx"

// A Tx is the transaction of one batch. It is not safe for concurrent use and ends with the function that got it.
type Tx struct {
	s  *Store
	tx *sqlx.Tx
}

// A Lookup says what to look for on behalf of one event. An empty field is not looked for.
type Lookup struct {
	Tenant          string
	Source          string
	EventID         string // ledger row of (Tenant, Source, EventID)
	Issuer, Subject string // user of that identity
	EmailKey        string // user of that canonical e-mail
	IdentityNameKey string // user of that canonical identity name
	UsedID          string // (Tenant, Source, UsedID)
	UserID          string // user of that id
	Owner           bool   // owner of the tenant
}

// Found is what there was for one [Lookup]; a field is nil when there was nothing.
type Found struct {
	Event          *Event
	ByIdentity     *User
	ByEmail        *User
	ByIdentityName *User
	ByID           *User
	Used           *UsedID
	OwnerID        string // id of the tenant's owner, or ""
}

// A Write is all that a batch stores. Its rows must not contradict each other: two users with one key in the same Write
// fail with [ErrRaced] however often they are tried.
type Write struct {
	Users              []User
	Identities         []Identity // of new users, or of users with an entry in Updates, whose revision guards the link
	RoleGrants         []RoleGrant
	OrganizationGrants []OrganizationGrant
	Updates            []UserUpdate // at most one for a user
	Events             []Event
	UsedIDs            []UsedID
	Outbox             []Outbox
	Unpark             []int64 // ids of parked events that are done
}

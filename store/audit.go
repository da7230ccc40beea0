package store

import "time"

// An AuditEntry records who did what.
type AuditEntry struct {
	ID     int64 // given by the store
	At     time.Time
	Tenant string // "" when it concerns none or all
	Who    string
	Action string // as in directory.apply, credential.revoke
	Object string
	Detail []byte // JSON; optional; holds no secret
}

// An AuditFilter selects audit entries, latest first.
type AuditFilter struct {
	Tenant, Who, Action string // "" means all
	Since               time.Time
	Limit               int   // 0 means DefaultLimit
	Before              int64 // id of the last entry of the page before; 0 means from the latest
}

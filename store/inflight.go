package store

import "time"

// An InFlight is a breadcrumb: the event that a worker had in hand. One that survives its worker names the culprit.
type InFlight struct {
	Worker   string // stable over restarts
	Boot     string // id of the worker's run
	Stream   string
	Sequence uint64
	Tenant   string
	Source   string
	EventID  string
	At       time.Time
}

package store

import "time"

// The states of a dead letter.
const (
	DeadLetterOpen      = "open"
	DeadLetterReplaying = "replaying"
	DeadLetterReplayed  = "replayed"
	DeadLetterDiscarded = "discarded"
)

// A DeadLetter is the state of one entry of the dead-letter stream; the entry itself stays in the stream.
type DeadLetter struct {
	Sequence    uint64 // in the dead-letter stream; the key
	Tenant      string
	Source      string
	EventID     string
	Code        string
	Reason      string
	Fingerprint string
	State       string
	Who         string // who gave it this state
	Why         string
	Campaign    string
	Parent      uint64 // sequence of the dead letter whose replay this one comes from, or 0
	Attempts    int    // replays so far
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// A DeadLetterFilter selects dead letters in the order of their sequences.
type DeadLetterFilter struct {
	Tenant, Source, Code, Fingerprint, State, Campaign string // "" means all
	Limit                                              int    // 0 means DefaultLimit
	After                                              uint64 // sequence of the last one of the page before
}

package proof

import (
	"fmt"
	"slices"
	"time"
)

// An Account is what became of every event, and what does not add up. Its JSON form is what idpsync prove prints.
type Account struct {
	Stream string    `json:"stream"`
	Since  time.Time `json:"since,omitzero"`
	// HistoryFrom is the time from which on the ledger is whole. Events from before are not part of the account.
	HistoryFrom time.Time `json:"history_from,omitzero"`
	// GapAccepted is when an operator last accepted that broker or database had lost what the other knows. Nor are events from
	// before that.
	GapAccepted time.Time `json:"gap_accepted,omitzero"`
	Events      struct {
		From        uint64 `json:"from"` // sequences, both included
		To          uint64 `json:"to"`
		Stored      uint64 `json:"stored"`
		Waiting     uint64 `json:"waiting"`
		Parked      uint64 `json:"parked"`
		Effects     uint64 `json:"effects"`
		DeadLetters uint64 `json:"dead_letters"`
		Counted     uint64 `json:"counted"` // beyond the quota of dead letters; a summary lists them, or will
		Refused     uint64 `json:"refused"`
		SentAgain   uint64 `json:"sent_again"`
		Untraced    uint64 `json:"untraced"`
	} `json:"events"`
	Ledger struct {
		Rows    int `json:"rows"`
		Told    int `json:"told"`    // result published
		Owed    int `json:"owed"`    // result in the outbox, or the event is not acknowledged yet
		Expired int `json:"expired"` // result older than the stream of results reaches
		Erased  int `json:"erased"`  // of users who were forgotten
	} `json:"ledger"`
	Foreign struct {
		Results     int `json:"results"`
		DeadLetters int `json:"dead_letters"`
	} `json:"foreign"` // messages that no worker wrote
	Results          int       `json:"results"` // distinct ids
	DeadLetters      int       `json:"dead_letters"`
	Summaries        int       `json:"summaries"`
	LettersOwed      int       `json:"dead_letters_owed"` // parked until their stream takes them; counted among the parked, too
	Parked           int       `json:"parked"`
	Outbox           int       `json:"outbox"`
	Stranded         int       `json:"stranded"`
	Expected         *Expected `json:"expected,omitempty"` // nil without a list
	UnaccountedCount int       `json:"unaccounted_count"`
	DuplicatedCount  int       `json:"duplicated_count"`
	Unaccounted      []Finding `json:"unaccounted"` // events that are lost, in whole or in part
	Duplicated       []Finding `json:"duplicated"`  // events with two effects, or with two results that differ
}

// Expected is what became of the events on the publisher's list.
type Expected struct {
	Events  int `json:"events"`
	Found   int `json:"found"`
	Unknown int `json:"unknown,omitempty"` // they may be among the events that wait
}

// A Finding is an event, or a stored message, that does not add up.
type Finding struct {
	ID   string `json:"id"`
	What string `json:"what"`
}

// Holds reports whether nothing is unaccounted for and nothing duplicated.
func (a *Account) Holds() bool { return len(a.Unaccounted)+len(a.Duplicated) == 0 }

// Verdict says in plain sentences whether the account balances, and what to do next.
func (a *Account) Verdict() string {
	switch {
	case !a.Holds():
		return fmt.Sprintf("It does not balance: %d unaccounted for, %d duplicated. First see whether broker and database fit together: idpsync recover. If they do, "+
			"look at each event: idpsync explain --event ID.", a.UnaccountedCount, a.DuplicatedCount)
	case a.Waits():
		return "It balances so far, and some events or results still wait. Run it again when they are done."
	default:
		return "It balances: each event is accounted for once, and none had two effects. There is nothing to do."
	}
}

// Waits reports whether something is not done yet, so that a later account will say more.
func (a *Account) Waits() bool {
	return a.Events.Waiting+a.Events.Parked > 0 || a.Parked+a.Outbox > 0 || a.Expected != nil && a.Expected.Unknown > 0
}

// Limited is the account with at most n findings of each kind. The counts are of all.
func (a *Account) Limited(n int) *Account {
	first := func(all []Finding) []Finding { return append([]Finding{}, all[:min(n, len(all))]...) }
	limited := *a
	limited.Unaccounted, limited.Duplicated = first(a.Unaccounted), first(a.Duplicated)
	return &limited
}

func (a *Account) unaccounted(id, format string, args ...any) {
	a.Unaccounted = append(a.Unaccounted, Finding{id, fmt.Sprintf(format, args...)})
	a.UnaccountedCount = len(a.Unaccounted)
}

func (a *Account) duplicated(id, format string, args ...any) {
	a.Duplicated = append(a.Duplicated, Finding{id, fmt.Sprintf(format, args...)})
	a.DuplicatedCount = len(a.Duplicated)
}

// confirm keeps of the findings those that an earlier account has too.
func (a *Account) confirm(earlier *Account) {
	both := func(now, before []Finding) []Finding {
		return slices.DeleteFunc(now, func(f Finding) bool { return !slices.Contains(before, f) })
	}
	a.Unaccounted, a.Duplicated = both(a.Unaccounted, earlier.Unaccounted), both(a.Duplicated, earlier.Duplicated)
	a.UnaccountedCount, a.DuplicatedCount = len(a.Unaccounted), len(a.Duplicated)
}

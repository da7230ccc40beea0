package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// An account is what became of every event, and what does not add up.
type account struct {
	Stream string    `json:"stream"`
	Since  time.Time `json:"since,omitzero"`
	Events struct {
		From        uint64 `json:"from"` // sequences, both included
		To          uint64 `json:"to"`
		Stored      uint64 `json:"stored"`
		Waiting     uint64 `json:"waiting"`
		Parked      uint64 `json:"parked"`
		Effects     uint64 `json:"effects"`
		DeadLetters uint64 `json:"dead_letters"`
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
	Results     int       `json:"results"`
	DeadLetters int       `json:"dead_letters"`
	Parked      int       `json:"parked"`
	Outbox      int       `json:"outbox"`
	Stranded    int       `json:"stranded"`
	Expected    *expected `json:"expected,omitempty"`
	ResidueN    int       `json:"residue_count"`
	TwiceN      int       `json:"twice_count"`
	Residue     []finding `json:"residue"`
	Twice       []finding `json:"twice"`
}

type expected struct {
	Events  int `json:"events"`
	Found   int `json:"found"`
	Unknown int `json:"unknown,omitempty"` // they may be among the events that wait
}

// A finding is an event, or a stored message, that does not add up.
type finding struct {
	ID   string `json:"id"`
	What string `json:"what"`
}

func (r *account) suspect() bool { return len(r.Residue)+len(r.Twice) > 0 }

func (r *account) residue(id, format string, args ...any) {
	r.Residue = append(r.Residue, finding{id, fmt.Sprintf(format, args...)})
}

func (r *account) twice(id, format string, args ...any) {
	r.Twice = append(r.Twice, finding{id, fmt.Sprintf(format, args...)})
}

// confirming keeps of r what an earlier account had found too.
func (r *account) confirming(earlier *account) *account {
	both := func(now, before []finding) []finding {
		return slices.DeleteFunc(now, func(f finding) bool { return !slices.Contains(before, f) })
	}
	r.Residue, r.Twice = both(r.Residue, earlier.Residue), both(r.Twice, earlier.Twice)
	return r
}

// limited is the account with at most n findings of each kind; the counts stay.
func (r *account) limited(n int) *account {
	r.ResidueN, r.TwiceN = len(r.Residue), len(r.Twice)
	r.Residue, r.Twice = slices.Clone(r.Residue[:min(n, len(r.Residue))]), slices.Clone(r.Twice[:min(n, len(r.Twice))])
	if r.Residue == nil {
		r.Residue = []finding{}
	}
	if r.Twice == nil {
		r.Twice = []finding{}
	}
	return r
}

func (r *account) print(w io.Writer, limit int) error {
	e := r.Events
	rows := [][]string{
		{"stored by the broker", fmt.Sprint(e.Stored), fmt.Sprintf("%s %d to %d", r.Stream, e.From, e.To)},
		{"  waiting", fmt.Sprint(e.Waiting), "stored still, or in a worker's hands"},
		{"  parked", fmt.Sprint(e.Parked), "until what they need is reachable"},
		{"  had an effect", fmt.Sprint(e.Effects), "a row in the ledger and its result"},
		{"  dead letter", fmt.Sprint(e.DeadLetters), "and a rejected result"},
		{"  ordinary repeat", fmt.Sprint(e.Refused), "a rejected result alone"},
		{"  sent again", fmt.Sprint(e.SentAgain), "an event that another message had brought"},
		{"  without a trace", fmt.Sprint(e.Untraced), ""},
		{"ledger", fmt.Sprint(r.Ledger.Rows), fmt.Sprintf("%d with their result, %d whose result is owed, %d expired, %d erased",
			r.Ledger.Told, r.Ledger.Owed, r.Ledger.Expired, r.Ledger.Erased)},
		{"results", fmt.Sprint(r.Results), "distinct ids"},
		{"dead letters", fmt.Sprint(r.DeadLetters), ""},
	}
	if f := r.Foreign; f.Results+f.DeadLetters > 0 {
		where := fmt.Sprintf("no worker wrote them: %d among the results, %d among the dead letters", f.Results, f.DeadLetters)
		rows = append(rows, []string{"passed over", fmt.Sprint(f.Results + f.DeadLetters), where})
	}
	if r.Expected != nil {
		found := fmt.Sprintf("%d found", r.Expected.Found)
		if r.Expected.Unknown > 0 {
			found += fmt.Sprintf("; %d may be among those that wait: prove it again when these are done", r.Expected.Unknown)
		}
		rows = append(rows, []string{"expected", fmt.Sprint(r.Expected.Events), found})
	}
	if err := printTable(w, []string{"WHAT", "COUNT", ""}, rows); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		all  []finding
	}{{"residue", r.Residue}, {"twice", r.Twice}} {
		fmt.Fprintf(w, "%s %d\n", part.name, len(part.all))
		for i, f := range part.all {
			if i == limit {
				fmt.Fprintf(w, "  and %d more; --limit shows them\n", len(part.all)-limit)
				break
			}
			fmt.Fprintf(w, "  %s  %s\n", printable(f.ID), f.What)
		}
	}
	return nil
}

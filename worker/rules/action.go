package rules

import (
	"fmt"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// An action is the rules of one thing that requests ask for.
type action interface {
	// check validates what was asked and fills in the draft.
	check(r *Request, p Passwords) ([]providers.Fault, *record.Rejection)
	// resolve says which user the request is about, and what is to be done.
	resolve(r *Request, found store.Found) (Resolution, *record.Rejection)
	// effects returns the user afterwards, and what makes it so.
	effects(r *Request, res Resolution, g Grants, id string, at time.Time) (*store.User, []Effect)
}

// actionOf returns the rules of an action: one line for each.
func actionOf(a record.Action) action {
	switch a {
	case record.ActionCreate:
		return create{}
	}
	panic(fmt.Sprintf("no rules for action %q", a)) // the table of routes names none that has none; a test says so
}

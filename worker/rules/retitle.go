package rules

import (
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// retitle gives a user who is there another name: [record.ActionRetitle].
type retitle struct{}

func (retitle) check(r *Request, _ Passwords) (faults []providers.Fault, refusal *record.Rejection) {
	if r.Draft, faults = validate(r.Source, &r.Asked); len(faults) > 0 {
		return faults, record.Invalid(faults)
	}
	return nil, nil
}

func (retitle) resolve(_ *Request, found store.Found) (Resolution, *record.Rejection) {
	if found.ByEmail == nil {
		return Resolution{}, record.Reject(record.CodeInvalidInput, "no_such_user", "There is no user with this e-mail address.")
	}
	return Resolution{Outcome: record.OutcomeUpdated, User: found.ByEmail}, nil
}

func (retitle) effects(r *Request, res Resolution, _ Grants, _ string, at time.Time) (*store.User, []Effect) {
	u := *res.User
	u.Name, u.UpdatedAt = r.Draft.Name, at
	return &u, []Effect{PatchUser{&u, store.UserUpdate{TenantID: u.TenantID, UserID: u.ID, Revision: u.Revision, UpdatedAt: at, Name: &u.Name}}}
}

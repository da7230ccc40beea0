package rules

import (
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Request is a verified request beside what the directory knows of where it came from. The rules are its methods, in the
// order in which they are applied: Check, Resolve, Authorization and Permit, Effects. None of them does any I/O.
type Request struct {
	Action record.Action
	Tenant *Tenant
	Source *providers.Source
	Event  *providers.Envelope
	Asked  providers.CreateUser // what the source proved
	Draft  Draft                // of Check
}

// Check validates the data of the request, its password and its roles, and fills in the draft. The faults are those of
// single fields. The rejection says why the request cannot be granted; for a login that is no refusal yet, as a user may have
// its identity already: Resolve takes it from the draft.
func (r *Request) Check(p Passwords) (faults []providers.Fault, refusal *record.Rejection) {
	faults, refusal = actionOf(r.Action).check(r, p)
	r.Draft.Refusal = refusal
	return faults, refusal
}

// Resolve applies the identity rules to the request and what the store has for it.
func (r *Request) Resolve(found store.Found) (Resolution, *record.Rejection) {
	return actionOf(r.Action).resolve(r, found)
}

// Effects returns the user that the request is about, as it is afterwards, and what makes it so. At is the time of the
// transaction, and id what a new user is called by.
func (r *Request) Effects(res Resolution, g Grants, id string, at time.Time) (*store.User, []Effect) {
	return actionOf(r.Action).effects(r, res, g, id, at)
}

// ResponseShape says in which of the API's shapes the request is answered.
func (r *Request) ResponseShape() providers.Shape {
	if r.Asked.Shape == providers.ShapeOrganization {
		return providers.ShapeOrganization
	}
	return providers.ShapeTenant
}

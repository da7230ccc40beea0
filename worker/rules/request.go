package rules

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Request is a verified request beside what the directory knows of where it came from. The rules are its methods, in the
// order in which they are applied: Check, Resolve, Authorization and Permit, Effects. None of them does any I/O.
type Request struct {
	Tenant *Tenant
	Source *providers.Source
	Event  *providers.Envelope
	Asked  providers.CreateUser // what the source proved
	Draft  Draft                // of Check
}

// Check validates the data of the request, its password and its roles, and fills in the draft. The faults are those of
// single fields. The rejection says why no user can be made of the request; for a login that is no refusal yet, as a user
// may have its identity already: Resolve takes it from the draft.
func (r *Request) Check(p Passwords) (faults []providers.Fault, refusal *record.Rejection) {
	r.Draft, faults = validate(r.Source, &r.Asked)
	faults = append(faults, p.check(r.Event, &r.Asked, &r.Draft)...)
	if len(faults) > 0 {
		refusal = record.Invalid(faults)
	} else if refusal = checkRoles(r.Tenant, r.Source, &r.Asked, &r.Draft); refusal != nil {
		refusal.Directory = true
	}
	r.Draft.Refusal = refusal
	return faults, refusal
}

// Resolve applies the identity rules to the request and what the store has for it.
func (r *Request) Resolve(found store.Found) (Resolution, *record.Rejection) {
	return resolve(r.Tenant, r.Source, &r.Asked, &r.Draft, found)
}

// ResponseShape says in which of the API's shapes the request is answered.
func (r *Request) ResponseShape() providers.Shape {
	if r.Asked.Shape == providers.ShapeOrganization {
		return providers.ShapeOrganization
	}
	return providers.ShapeTenant
}

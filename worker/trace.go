package worker

import (
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// The steps of a trace that this package makes, beside those of providers.
const (
	stepReceive   = "receive"
	stepVerify    = "verify" // what providers cannot check: was the assertion used before
	stepValidate  = "validate"
	stepRoles     = "roles"
	stepLedger    = "ledger"
	stepIdentity  = "identity"
	stepAuthorize = "authorize"
	stepWrite     = "write"
)

func (e *event) note(step, name string, ok bool, detail string) {
	e.env.Trace.Add(providers.Check{Step: step, Name: name, OK: ok, Detail: detail})
}

// traceRequest records what validation and the role checks made of the request.
func (e *event) traceRequest(faults []providers.Fault, refusal *record.Rejection) {
	if !e.env.Trace.Enabled() {
		return
	}
	e.traceData(faults)
	e.traceRoles(refusal)
}

func (e *event) traceData(faults []providers.Fault) {
	d := &e.request.Draft
	for _, f := range faults {
		e.note(stepValidate, f.Field, false, f.Message)
	}
	if len(faults) > 0 {
		return
	}
	verified := "not verified"
	if d.EmailVerified {
		verified = "verified"
	}
	e.note(stepValidate, "email", true, d.Email.Key+", "+verified)
	e.note(stepValidate, "name", true, d.Name)
	e.note(stepValidate, "identity_name", true, d.IdentityName)
}

func (e *event) traceRoles(r *record.Rejection) {
	d := &e.request.Draft
	for _, role := range d.Roles {
		e.note(stepRoles, role.Name, true, "in the directory, and among the grants")
	}
	for _, o := range d.Organizations {
		e.note(stepRoles, o.Role.Name+"@"+o.Organization.Name, true, "in the directory, and among the grants")
	}
	for _, name := range d.Dropped {
		e.note(stepRoles, name, true, "no role of the tenant, or not among the grants; left out (unknown_roles)")
	}
	if r != nil {
		e.note(stepRoles, string(r.Code), false, r.Message)
	}
}

// traceIdentity records which user the request is about.
func (e *event) traceIdentity(found store.Found, res rules.Resolution, r *record.Rejection) {
	if !e.env.Trace.Enabled() {
		return
	}
	who := func(u *store.User) string {
		if u == nil {
			return "nobody"
		}
		return u.ID
	}
	detail := "by identity: " + who(found.ByIdentity) + "; by e-mail: " + who(found.ByEmail) + "; by identity name: " + who(found.ByIdentityName)
	if r != nil {
		e.note(stepIdentity, string(r.Code), false, detail)
		return
	}
	e.note(stepIdentity, string(res.Outcome), true, detail)
}

// traceDecision records what the policies said.
func (e *event) traceDecision(d record.Decision, linking bool) {
	if !e.env.Trace.Enabled() {
		return
	}
	detail := "policies: " + strings.Join(d.Policies, ", ")
	if len(d.Notices) > 0 {
		detail += "; notices: " + strings.Join(d.Notices, " ")
	}
	action := "CreateUser"
	if linking {
		action += " and LinkUser"
	}
	e.note(stepAuthorize, action, d.Allow, detail)
	for _, g := range d.Denied {
		e.note(stepAuthorize, "GrantRole "+g.Name(), false, "policies: "+strings.Join(g.Policies, ", ")+"; notices: "+strings.Join(g.Notices, " "))
	}
	for _, s := range d.Errors {
		e.note(stepAuthorize, "policy_error", false, s)
	}
}

// writes says what the decision writes, beside the ledger row.
func writes(r *rules.Request, effects []rules.Effect) string {
	var rows []string
	owner := false
	for _, effect := range effects {
		switch x := effect.(type) {
		case rules.PutUser:
			rows, owner = append(rows, "user"), x.User.IsOwner
		case rules.PatchUser:
			owner = x.Patch.IsOwner != nil
		case rules.Link:
			rows = append(rows, "identity")
		case rules.Grant:
			rows = append(rows, "role "+r.Tenant.RoleName(x.RoleID))
		case rules.GrantInOrganization:
			rows = append(rows, "role "+r.Tenant.RolesByID[strings.ToLower(x.RoleID)].Name+"@"+r.Tenant.Organizations[strings.ToLower(x.OrganizationID)].Name)
		}
	}
	if owner {
		rows = append(rows, "owner of the tenant")
	}
	return strings.Join(append(rows, "ledger row"), ", ")
}

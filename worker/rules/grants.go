package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// Grants are the roles that policy left of those that were asked for and exist.
type Grants struct {
	Roles         []store.Role
	Organizations []OrganizationGrant
	Dropped       []string // names of the others, sorted
}

// Notices are those of a decision, with one that names the roles that were left out.
func (g Grants) Notices(of record.Decision) []string {
	if len(g.Dropped) == 0 {
		return of.Notices
	}
	return append(slices.Clone(of.Notices), "These were left out, as they are no roles of the tenant or cannot be granted here: "+someOf(g.Dropped)+".")
}

// Asked are the organizations as the sender wrote them; nil for none.
func (g Grants) Asked() []providers.OrganizationRole {
	if g.Organizations == nil {
		return nil
	}
	asked := make([]providers.OrganizationRole, len(g.Organizations))
	for i, o := range g.Organizations {
		asked[i] = o.Asked
	}
	return asked
}

// Authorization is what the policies are asked about the request, once it is known which user it is about. Age is that of
// the event when it is decided.
func (r *Request) Authorization(res Resolution, age time.Duration) record.AuthorizationRequest {
	asked, d := &r.Asked, &r.Draft
	a := record.AuthorizationRequest{
		Tenant: r.Tenant.ID, TenantName: r.Tenant.Name, Principal: asked.Principal, PrincipalTenant: r.principalTenant(),
		SourceKind: r.Source.Kind, Source: r.Source.Name, Door: r.Event.Door, Shape: r.Event.Shape, AuthProvider: asked.AuthProvider,
		EmailDomain: d.Email.Domain, EmailVerified: d.EmailVerified, Existing: res.User != nil, Attributes: asked.Attributes,
		Replayed: r.Event.Replayed, Age: age, Owner: res.Owner,
	}
	if r.Action != record.ActionCreate { // the ledger keeps the request of each event, and most of them create
		a.Action = r.Action
	}
	if asked.Identity != nil {
		a.Issuer = asked.Identity.Issuer
	}
	if res.User == nil { // roles are granted at creation only
		for _, role := range d.Roles {
			a.Roles = append(a.Roles, record.RequestedRole{Tenant: strings.ToLower(role.TenantID), ID: role.ID, Name: role.Name})
		}
		for _, o := range d.Organizations {
			a.Organizations = append(a.Organizations, record.RequestedOrganization{
				Tenant: strings.ToLower(o.Organization.TenantID), OrganizationID: o.Organization.ID, OrganizationName: o.Organization.Name,
				RoleID: o.Role.ID, RoleName: o.Role.Name,
			})
		}
	}
	if res.Outcome == record.OutcomeLinked {
		a.Linking = true
		a.UserRoles, a.UserOrganizations = r.Tenant.rolesOf(res.User)
	}
	return a
}

// principalTenant is the tenant that whoever asks belongs to, by their own record.
func (r *Request) principalTenant() string {
	if r.Asked.Principal.Kind == providers.PrincipalSource {
		return r.Source.Tenant
	}
	return r.Asked.Principal.Tenant
}

// Permit returns the roles that the request may grant after what the policies said of it, or its rejection. Roles that the
// policies deny are left out where the source says so, and else refuse the request.
func (r *Request) Permit(res Resolution, d record.Decision) (Grants, *record.Rejection) {
	if !d.Allow || d.PolicyError {
		return Grants{}, forbidden(d, nil)
	}
	var g Grants
	if res.User == nil { // roles of one who is there stay as they are, so that nothing is left out
		g.Roles, g.Organizations, g.Dropped = r.Draft.Roles, r.Draft.Organizations, r.Draft.Dropped
	}
	if len(d.Denied) == 0 {
		return g, nil
	}
	if r.Source.OnDeniedRole != providers.DeniedRoleDrop {
		return Grants{}, forbidden(d, d.Denied)
	}
	return g.without(d.Denied), nil
}

// forbidden is the rejection of what policy denied: the whole request, or some of its roles.
func forbidden(d record.Decision, denied []record.DeniedGrant) *record.Rejection {
	reason, message := "policy", "The policies do not allow this request."
	if d.PolicyError {
		reason, message = "policy_error", "A policy could not be evaluated, so the request is not allowed."
	}
	r := record.Reject(record.CodeForbidden, reason, message)
	r.Policies = d.Policies
	r.Notices = append(r.Notices, d.Notices...)
	if len(denied) > 0 {
		names := make([]string, 0, len(denied))
		for _, g := range denied {
			names = append(names, g.Name())
			r.Notices = append(r.Notices, g.Notices...)
			r.Policies = append(r.Policies, g.Policies...)
		}
		r.Details["roles"] = names
		r.Message = "The policies do not allow granting some of the roles; details.roles lists them."
	}
	slices.Sort(r.Notices)
	r.Notices = slices.Compact(r.Notices)
	r.Policies = slices.Clone(r.Policies)
	slices.Sort(r.Policies)
	r.Policies = slices.Compact(r.Policies)
	r.Hint = "Look at the policies named in " + record.HeaderPolicies + "; after a change of policy, replay."
	return r
}

func (g Grants) without(denied []record.DeniedGrant) Grants {
	out := Grants{Dropped: slices.Clone(g.Dropped)}
	for _, d := range denied {
		out.Dropped = append(out.Dropped, d.Name())
	}
	for _, r := range g.Roles {
		if !slices.ContainsFunc(denied, func(d record.DeniedGrant) bool { return d.OrganizationID == "" && d.Role == r.Name }) {
			out.Roles = append(out.Roles, r)
		}
	}
	for _, o := range g.Organizations {
		if !slices.ContainsFunc(denied, func(d record.DeniedGrant) bool { return d.OrganizationID == o.Organization.ID && d.Role == o.Role.Name }) {
			out.Organizations = append(out.Organizations, o)
		}
	}
	slices.Sort(out.Dropped)
	out.Dropped = slices.Compact(out.Dropped)
	return out
}

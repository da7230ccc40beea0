package worker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

const organizationShape = providers.ShapeOrganization

// responseShape says in which of the API's shapes the event is answered.
func (e *event) responseShape() providers.Shape {
	if e.request.Shape == organizationShape {
		return organizationShape
	}
	return providers.ShapeTenant
}

// grants are the roles that policy left of those that were asked for and exist.
type grants struct {
	roles         []store.Role
	organizations []organizationGrant
	dropped       []string
}

// asked are the organizations as the sender wrote them; nil for none.
func (g grants) asked() []providers.OrganizationRole {
	if g.organizations == nil {
		return nil
	}
	asked := make([]providers.OrganizationRole, len(g.organizations))
	for i, o := range g.organizations {
		asked[i] = o.asked
	}
	return asked
}

// A judgement is what the policies were asked and what they said.
type judgement struct {
	request record.AuthorizationRequest
	record.Decision
}

// authorize asks the policies, with all that is known of the request.
func (w *Worker) authorize(ctx context.Context, e *event, res resolution, at time.Time) (grants, judgement, *record.Rejection) {
	req := record.AuthorizationRequest{
		Tenant: e.tenant.ID, TenantName: e.tenant.Name, Principal: e.request.Principal, PrincipalTenant: e.principalTenant(), SourceKind: e.source.Kind, Source: e.source.Name,
		Door: e.env.Door, Shape: e.env.Shape, AuthProvider: e.request.AuthProvider, EmailDomain: e.user.email.Domain,
		EmailVerified: e.user.emailVerified, Existing: res.user != nil, Attributes: e.request.Attributes,
		Replayed: e.env.Replayed, Age: at.Sub(e.env.StoredAt), Owner: res.owner,
	}
	if e.request.Identity != nil {
		req.Issuer = e.request.Identity.Issuer
	}
	g := grants{dropped: e.user.dropped}
	if res.user == nil { // roles are granted at creation only
		for _, r := range e.user.roles {
			req.Roles = append(req.Roles, record.RequestedRole{Tenant: strings.ToLower(r.TenantID), ID: r.ID, Name: r.Name})
		}
		for _, o := range e.user.organizations {
			req.Organizations = append(req.Organizations, record.RequestedOrganization{
				Tenant: strings.ToLower(o.organization.TenantID), OrganizationID: o.organization.ID, OrganizationName: o.organization.Name, RoleID: o.role.ID, RoleName: o.role.Name,
			})
		}
		g.roles, g.organizations = e.user.roles, e.user.organizations
	}
	if res.outcome == record.OutcomeLinked {
		req.Linking = true
		req.UserRoles, req.UserOrganizations = e.tenant.rolesOf(res.user)
	}
	d := w.authorizer.Authorize(ctx, req)
	if d.PolicyError {
		w.log.Error("a policy could not be evaluated; the request is denied", "tenant", e.tenant.ID, "source", e.source.Name,
			"event_id", e.env.EventID, "policies", d.Policies, "errors", d.Errors)
	}
	j := judgement{req, d}
	if !d.Allow {
		return grants{}, j, forbidden(d, nil)
	}
	if len(d.Denied) == 0 {
		return g, j, nil
	}
	if e.source.OnDeniedRole != "drop" {
		return grants{}, j, forbidden(d, d.Denied)
	}
	return g.without(d.Denied), j, nil
}

// rolesOf returns what a user may do already, with the names that the directory has for it.
func (t *Tenant) rolesOf(u *store.User) (roles []record.RequestedRole, organizations []record.RequestedOrganization) {
	for _, name := range u.Roles {
		r := t.rolesByName[name]
		roles = append(roles, record.RequestedRole{Tenant: strings.ToLower(r.TenantID), ID: r.ID, Name: name})
	}
	for _, g := range u.Organizations {
		o, r := t.organizations[strings.ToLower(g.OrganizationID)], t.rolesByID[strings.ToLower(g.RoleID)]
		organizations = append(organizations, record.RequestedOrganization{
			Tenant: strings.ToLower(o.TenantID), OrganizationID: o.ID, OrganizationName: o.Name, RoleID: r.ID, RoleName: r.Name,
		})
	}
	return roles, organizations
}

// principalTenant is the tenant that whoever asks belongs to, by their own record.
func (e *event) principalTenant() string {
	if e.request.Principal.Kind == providers.PrincipalSource {
		return e.source.Tenant
	}
	return e.request.Principal.Tenant
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

func (g grants) without(denied []record.DeniedGrant) grants {
	out := grants{dropped: slices.Clone(g.dropped)}
	for _, d := range denied {
		out.dropped = append(out.dropped, d.Name())
	}
	for _, r := range g.roles {
		if !slices.ContainsFunc(denied, func(d record.DeniedGrant) bool { return d.OrganizationID == "" && d.Role == r.Name }) {
			out.roles = append(out.roles, r)
		}
	}
	for _, o := range g.organizations {
		if !slices.ContainsFunc(denied, func(d record.DeniedGrant) bool { return d.OrganizationID == o.organization.ID && d.Role == o.role.Name }) {
			out.organizations = append(out.organizations, o)
		}
	}
	slices.Sort(out.dropped)
	out.dropped = slices.Compact(out.dropped)
	return out
}

// convert turns a verified, validated and authorized request into rows. It is the only bridge from what a source
// proved to what is kept.
func (p *plan) convert(e *event, res resolution, g grants) (*store.User, error) {
	switch res.outcome {
	case record.OutcomeExists:
		return res.user, nil
	case record.OutcomeUpdated, record.OutcomeLinked:
		return p.update(e, res), nil
	}
	id, err := p.w.newUserID()
	if err != nil {
		return nil, err
	}
	d := &e.user
	u := &store.User{
		ID: id, TenantID: e.tenant.ID, Email: d.email.Given, EmailKey: d.email.Key, EmailVerified: d.emailVerified, EmailReserved: d.emailReserved,
		IdentityName: d.identityName, IdentityNameKey: d.identityKey, NameSkeleton: d.nameSkeleton, Name: d.name, DisplayName: d.displayName,
		FirstName: d.firstName, LastName: d.lastName, AuthProvider: e.request.AuthProvider, Avatar: d.avatar, IsOwner: res.owner,
		PasswordHash: d.passwordHash, CreatedBy: e.source.Name, CreatedAt: p.at, UpdatedAt: p.at,
	}
	if res.unnamed || d.identityName == "" {
		u.IdentityName, u.IdentityNameKey = id, NameKey(id)
		u.NameSkeleton = NameSkeleton(id)
	}
	for _, r := range g.roles {
		u.Roles = append(u.Roles, r.Name)
		p.write.RoleGrants = append(p.write.RoleGrants, store.RoleGrant{
			TenantID: u.TenantID, UserID: id, RoleID: r.ID, Source: e.source.Name, EventID: e.env.EventID, At: p.at,
		})
	}
	slices.Sort(u.Roles)
	for _, o := range g.organizations {
		u.Organizations = append(u.Organizations, store.UserOrganization{OrganizationID: o.organization.ID, RoleID: o.role.ID})
		p.write.OrganizationGrants = append(p.write.OrganizationGrants, store.OrganizationGrant{
			TenantID: u.TenantID, UserID: id, OrganizationID: o.organization.ID, RoleID: o.role.ID,
			Source: e.source.Name, EventID: e.env.EventID, At: p.at,
		})
	}
	p.write.Users = append(p.write.Users, *u)
	p.identify(e, u)
	p.batch.add(u, e)
	return u, nil
}

// update changes a user who was there: the login gets the user, unless it had the user before, and makes the user the
// owner, if it does. The login proved the address, and the roles stay as they are.
func (p *plan) update(e *event, res resolution) *store.User {
	u := *res.user
	verified := true
	update := store.UserUpdate{TenantID: u.TenantID, UserID: u.ID, Revision: u.Revision, UpdatedAt: p.at, EmailVerified: &verified, EmailReserved: &verified}
	u.EmailVerified, u.EmailReserved, u.UpdatedAt = true, true, p.at
	if res.owner {
		update.IsOwner, u.IsOwner = &verified, true
	}
	if waitsForLogin(&u) && u.AuthProvider == "local" {
		update.AuthProvider, u.AuthProvider = &e.request.AuthProvider, e.request.AuthProvider
	}
	p.write.Updates = append(p.write.Updates, update)
	if res.outcome == record.OutcomeLinked {
		p.identify(e, &u)
	}
	p.batch.add(&u, e)
	return &u
}

func (p *plan) identify(e *event, u *store.User) {
	id := e.request.Identity
	if id == nil {
		return
	}
	u.HasIdentity++
	p.write.Identities = append(p.write.Identities, store.Identity{
		TenantID: u.TenantID, Kind: string(e.source.Kind), Issuer: id.Issuer, Subject: id.Subject, UserID: u.ID, Source: e.source.Name, CreatedAt: p.at,
	})
}

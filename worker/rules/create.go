package rules

import (
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// create has a user made who is not there yet: [record.ActionCreate]. A login of a user who is there makes none, and may take
// over a user who waits for a first login.
type create struct{}

func (create) check(r *Request, p Passwords) (faults []providers.Fault, refusal *record.Rejection) {
	r.Draft, faults = validate(r.Source, &r.Asked)
	faults = append(faults, p.check(r.Event, &r.Asked, &r.Draft)...)
	if len(faults) > 0 {
		return faults, record.Invalid(faults)
	}
	if refusal = checkRoles(r.Tenant, r.Source, &r.Asked, &r.Draft); refusal != nil {
		refusal.Directory = true
	}
	return nil, refusal
}

func (create) resolve(r *Request, found store.Found) (Resolution, *record.Rejection) {
	return resolve(r.Tenant, r.Source, &r.Asked, &r.Draft, found)
}

func (create) effects(r *Request, res Resolution, g Grants, id string, at time.Time) (*store.User, []Effect) {
	switch res.Outcome {
	case record.OutcomeCreated:
		return r.create(res, g, id, at)
	case record.OutcomeUpdated, record.OutcomeLinked:
		return r.change(res, at)
	default:
		return res.User, nil
	}
}

func (r *Request) create(res Resolution, g Grants, id string, at time.Time) (*store.User, []Effect) {
	d := &r.Draft
	u := &store.User{
		ID: id, TenantID: r.Tenant.ID, Email: d.Email.Given, EmailKey: d.Email.Key, EmailVerified: d.EmailVerified, EmailReserved: d.EmailReserved,
		IdentityName: d.IdentityName, IdentityNameKey: d.IdentityKey, NameSkeleton: d.NameSkeleton, Name: d.Name, DisplayName: d.DisplayName,
		FirstName: d.FirstName, LastName: d.LastName, AuthProvider: r.Asked.AuthProvider, Avatar: d.Avatar, IsOwner: res.Owner,
		PasswordHash: d.PasswordHash, CreatedBy: r.Source.Name, CreatedAt: at, UpdatedAt: at,
	}
	if res.Unnamed || d.IdentityName == "" {
		u.IdentityName, u.IdentityNameKey = id, NameKey(id)
		u.NameSkeleton = NameSkeleton(id)
	}
	effects := append([]Effect{PutUser{u}}, r.link(u, at)...)
	for _, role := range g.Roles {
		u.Roles = append(u.Roles, role.Name)
		effects = append(effects, Grant{TenantID: u.TenantID, UserID: id, RoleID: role.ID, Source: r.Source.Name, EventID: r.Event.EventID, At: at})
	}
	slices.Sort(u.Roles)
	for _, o := range g.Organizations {
		u.Organizations = append(u.Organizations, store.UserOrganization{OrganizationID: o.Organization.ID, RoleID: o.Role.ID})
		effects = append(effects, GrantInOrganization{
			TenantID: u.TenantID, UserID: id, OrganizationID: o.Organization.ID, RoleID: o.Role.ID,
			Source: r.Source.Name, EventID: r.Event.EventID, At: at,
		})
	}
	return u, effects
}

// change changes a user who was there: the login gets the user, unless it had the user before, and makes the user the
// owner, if it does. The login proved the address, and the roles stay as they are.
func (r *Request) change(res Resolution, at time.Time) (*store.User, []Effect) {
	u := *res.User
	verified := true
	patch := store.UserUpdate{TenantID: u.TenantID, UserID: u.ID, Revision: u.Revision, UpdatedAt: at, EmailVerified: &verified, EmailReserved: &verified}
	u.EmailVerified, u.EmailReserved, u.UpdatedAt, u.Revision = true, true, at, u.Revision+1
	if res.Owner {
		patch.IsOwner, u.IsOwner = &verified, true
	}
	if WaitsForLogin(&u) && u.AuthProvider == "local" {
		patch.AuthProvider, u.AuthProvider = &r.Asked.AuthProvider, r.Asked.AuthProvider
	}
	effects := []Effect{PatchUser{&u, patch}}
	if res.Outcome == record.OutcomeLinked {
		effects = append(effects, r.link(&u, at)...)
	}
	return &u, effects
}

// link gives the user the identity that the request proves, if it proves one.
func (r *Request) link(u *store.User, at time.Time) []Effect {
	id := r.Asked.Identity
	if id == nil {
		return nil
	}
	u.HasIdentity++
	return []Effect{Link{
		TenantID: u.TenantID, Kind: string(r.Source.Kind), Issuer: id.Issuer, Subject: id.Subject, UserID: u.ID, Source: r.Source.Name, CreatedAt: at,
	}}
}

package rules

import (
	"strings"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Tenant is what the rules know of a tenant: its declared owner, roles and organizations. It does not change.
type Tenant struct {
	ID           string // lower-case UUID
	Name         string
	Owner        string // e-mail of the owner to be, as declared; "" for none
	OwnerKey     string // its canonical form
	DefaultRoles []string

	RolesByName   map[string]store.Role         // tenant scope
	RolesByID     map[string]store.Role         // organization scope, by lower-case UUID
	Organizations map[string]store.Organization // by lower-case UUID
}

// RoleName returns the name of the tenant role with the id, or "".
func (t *Tenant) RoleName(id string) string {
	for name, r := range t.RolesByName {
		if r.ID == id {
			return name
		}
	}
	return ""
}

// rolesOf returns what a user may do already, with the names that the directory has for it.
func (t *Tenant) rolesOf(u *store.User) (roles []record.RequestedRole, organizations []record.RequestedOrganization) {
	for _, name := range u.Roles {
		r := t.RolesByName[name]
		roles = append(roles, record.RequestedRole{Tenant: strings.ToLower(r.TenantID), ID: r.ID, Name: name})
	}
	for _, g := range u.Organizations {
		o, r := t.Organizations[strings.ToLower(g.OrganizationID)], t.RolesByID[strings.ToLower(g.RoleID)]
		organizations = append(organizations, record.RequestedOrganization{
			Tenant: strings.ToLower(o.TenantID), OrganizationID: o.ID, OrganizationName: o.Name, RoleID: r.ID, RoleName: r.Name,
		})
	}
	return roles, organizations
}
